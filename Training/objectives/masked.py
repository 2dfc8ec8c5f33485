"""Rebuild masked patches (MAE's task): the teacher itself, and the expert of the paper's "Scratch" row.

SAM's windows need the whole token grid, so there masked patches are replaced by a learnt token (as SimMIM does) instead
of being left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import as_rgb_slices
from Training.teachers.mae import Mae, rgb_patches


def random_mask(batch: int, grid: int, ratio: float, device: torch.device) -> Tensor:
    """(B, grid, grid), True on the masked patches; every image has the same number of them."""
    count = round(ratio * grid * grid)
    ranks = torch.rand(batch, grid * grid, device=device).argsort(dim=1).argsort(dim=1)
    return (ranks < count).unflatten(1, (grid, grid))


def patches_of(slices: Tensor, patch: int) -> Tensor:
    """The slice itself, the middle channel of (B, 3, S, S) -> (B, S / patch, S / patch, patch^2)."""
    return slices[:, 1].unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)


def normalised(patches: Tensor) -> Tensor:
    """Each patch (..., values) less its own mean, by its own deviation (MAE, section 3)."""
    # The deviation's floor keeps patches of pure background, which carry only noise, from dominating.
    return (patches - patches.mean(-1, keepdim=True)) / (patches.std(-1, keepdim=True) + 0.02)


def masked_tokens(encoder: Encoder, slices: Tensor, mask_token: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Embedded tokens (B, H, W, C) with ``mask_token`` (C) on a share ``ratio`` of them, and the mask (B, h, w).

    The mask is the embedding's grid. SAM 2 starts on a finer one, where all tokens of a masked place are replaced.
    """
    tokens = encoder.patch_embed(slices)
    mask = random_mask(len(tokens), encoder.grid, ratio, tokens.device)
    finer = tokens.shape[1] // encoder.grid
    hidden = mask.repeat_interleave(finer, dim=1).repeat_interleave(finer, dim=2)
    tokens = torch.where(hidden[..., None], mask_token.to(tokens.dtype), tokens)
    return tokens + encoder.pos_embed, mask


class MaskedObjective(nn.Module):
    """Mean squared error on masked patches, each normalised by its own mean and deviation (MAE, section 3)."""

    def __init__(self, encoder: Encoder, token_dim: int, patch_size: int, ratio: float = 0.75) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch_size, self.ratio = patch_size, ratio
        self.mask_token = nn.Parameter(0.02 * torch.randn(encoder.pos_embed.shape[-1]))
        self.head = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, 2 * token_dim), nn.GELU(),
                                  nn.Linear(2 * token_dim, patch_size**2))

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of one view (B, C, D, S, S)."""
        slices = as_rgb_slices(views[0])
        tokens, mask = masked_tokens(self.encoder, slices, self.mask_token, self.ratio)
        rebuilt = self.head(self.encoder.run_blocks(tokens, "patch"))
        target = normalised(patches_of(slices, self.patch_size))
        return (rebuilt - target).square().mean(-1)[mask].mean()


class MaeObjective(nn.Module):
    """MAE's pre-training, continued: the encoder sees the unmasked patches alone, the decoder rebuilds the rest."""

    def __init__(self, teacher: Mae, ratio: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.ratio = ratio

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of one view (B, C, D, S, S)."""
        slices = as_rgb_slices(views[0])
        mask = random_mask(len(slices), self.teacher.grid, self.ratio, slices.device)
        target = normalised(rgb_patches(slices, self.teacher.patch_size))
        return (self.teacher(slices, mask) - target).square().mean(-1)[mask.flatten(1)].mean()
