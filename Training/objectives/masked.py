"""Patch level without a teacher: rebuild masked patches (MAE's task; the paper's "Scratch" row).

SAM's windows need the whole token grid, so masked patches are replaced by a learnt token (as SimMIM does) instead of
being left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.model import as_rgb_slices


def random_mask(batch: int, grid: int, ratio: float, device: torch.device) -> Tensor:
    """(B, grid, grid), True on the masked patches; every image has the same number of them."""
    count = round(ratio * grid * grid)
    ranks = torch.rand(batch, grid * grid, device=device).argsort(dim=1).argsort(dim=1)
    return (ranks < count).unflatten(1, (grid, grid))


def patches_of(slices: Tensor, patch: int) -> Tensor:
    """The slice itself, the middle channel of (B, 3, S, S) -> (B, S / patch, S / patch, patch^2)."""
    return slices[:, 1].unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)


class MaskedObjective(nn.Module):
    """Mean squared error on masked patches, each normalised by its own mean and deviation (MAE, section 3)."""

    def __init__(self, encoder: SamImageEncoder, embed_dim: int, patch_size: int, ratio: float = 0.75) -> None:
        super().__init__()
        self.encoder = encoder
        self.patch_size, self.ratio = patch_size, ratio
        self.mask_token = nn.Parameter(0.02 * torch.randn(embed_dim))
        self.head = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 2 * embed_dim), nn.GELU(),
                                  nn.Linear(2 * embed_dim, patch_size**2))

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of one view (B, C, D, S, S)."""
        slices = as_rgb_slices(views[0])
        tokens = self.encoder.patch_embed(slices)
        mask = random_mask(len(tokens), tokens.shape[1], self.ratio, tokens.device)
        tokens = torch.where(mask[..., None], self.mask_token.to(tokens.dtype), tokens)
        rebuilt = self.head(self.encoder.run_blocks(tokens + self.encoder.pos_embed, "patch"))
        target = patches_of(slices, self.patch_size)
        # The deviation's floor keeps patches of pure background, which carry only noise, from dominating.
        target = (target - target.mean(-1, keepdim=True)) / (target.std(-1, keepdim=True) + 0.02)
        return (rebuilt - target).square().mean(-1)[mask].mean()
