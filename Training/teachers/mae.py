"""MAE (He et al. 2022, arXiv:2111.06377) from timm's ViT parts: encoder, decoder, and what they minimise.

Legend: B slices, g tokens a side, N = g * g, C width, p patch size. Tokens run row by row everywhere, also those that
are left after masking: a boolean mask keeps the order, so nothing has to be shuffled back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from SAMoraLib.packages.torchvision import importable_torchvision

with importable_torchvision():
    from timm.layers import resample_abs_pos_embed
    from timm.models.vision_transformer import Block, VisionTransformer

DECODER = ("decoder_", "mask_token")  # how the keys begin that are not the encoder's
# What the published encoders were trained on; SAMora's slices come in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class MaeSize:
    """Width, depth and heads of encoder and decoder."""

    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    decoder_dim: int
    decoder_depth: int
    decoder_heads: int


VIT_LARGE = MaeSize(16, 1024, 24, 16, 512, 8, 16)
TINY = MaeSize(8, 128, 4, 4, 64, 2, 4)  # for tests and laptops; the patches of the encoder `tiny`


class Mae(nn.Module):
    """Encoder and decoder under the published names, the encoder's with ``encoder.`` before them."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: MaeSize, image_size: int) -> None:
        super().__init__()
        if image_size % size.patch_size:
            raise ValueError(f"Image size {image_size} is not a multiple of the teacher's patch size "
                             f"{size.patch_size}; choose another size or teacher.")
        self.patch_size, self.grid, self.width = size.patch_size, image_size // size.patch_size, size.embed_dim
        self.encoder = VisionTransformer(image_size, size.patch_size, num_classes=0, global_pool="",
                                         embed_dim=size.embed_dim, depth=size.depth, num_heads=size.num_heads)
        self.encoder.pos_embed = _fixed(sincos_positions(self.grid, size.embed_dim))
        self.decoder_embed = nn.Linear(size.embed_dim, size.decoder_dim)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, size.decoder_dim))
        self.decoder_pos_embed = _fixed(sincos_positions(self.grid, size.decoder_dim))
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.decoder_blocks = nn.ModuleList(
            Block(size.decoder_dim, size.decoder_heads, qkv_bias=True, norm_layer=norm)
            for _ in range(size.decoder_depth))
        self.decoder_norm = norm(size.decoder_dim)
        self.decoder_pred = nn.Linear(size.decoder_dim, 3 * size.patch_size**2)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def features(self, slices: Tensor) -> Tensor:
        """Tokens of the whole image: (B, 3, S, S) in [0, 1] -> (B, g, g, C)."""
        return self.encode(slices)[:, 1:].unflatten(1, (self.grid, self.grid))

    def forward(self, slices: Tensor, mask: Tensor) -> Tensor:
        """What the decoder makes of the patches that ``mask`` (B, g, g) leaves: (B, N, 3 p^2)."""
        visible = self.decoder_embed(self.encode(slices, mask))
        tokens = self.mask_token.to(visible.dtype).repeat(len(slices), self.grid**2, 1)
        tokens[~mask.flatten(1)] = visible[:, 1:].flatten(0, 1)
        tokens = torch.cat([visible[:, :1], tokens], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        rebuilt: Tensor = self.decoder_pred(self.decoder_norm(tokens))
        return rebuilt[:, 1:]

    def encode(self, slices: Tensor, mask: Tensor | None = None) -> Tensor:
        """Class token and the tokens that ``mask`` (B, g, g) leaves, all without one: (B, 1 + n, C)."""
        positions, class_token = self.encoder.pos_embed, self.encoder.cls_token
        assert positions is not None and class_token is not None  # timm can leave them out
        tokens = self.encoder.patch_embed((slices - self.mean) / self.std) + positions[:, 1:]
        if mask is not None:
            tokens = tokens[~mask.flatten(1)].unflatten(0, (len(slices), -1))
        first = class_token + positions[:, :1]
        tokens = torch.cat([first.expand(len(slices), -1, -1).to(tokens.dtype), tokens], dim=1)
        encoded: Tensor = self.encoder.norm(self.encoder.blocks(tokens))
        return encoded


def sincos_positions(grid: int, width: int) -> Tensor:
    """MAE's fixed position table (1, 1 + N, C), zero for the class token; columns first, then rows."""
    frequency = 10_000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angle = torch.arange(grid, dtype=torch.float64)[:, None] * frequency
    along = torch.cat([angle.sin(), angle.cos()], dim=1)  # (g, C / 2)
    table = torch.cat([along[None].expand(grid, -1, -1), along[:, None].expand(-1, grid, -1)], dim=-1)
    return torch.cat([torch.zeros(1, 1, width), table.flatten(0, 1)[None].float()], dim=1)


def _fixed(table: Tensor) -> nn.Parameter:
    return nn.Parameter(table, requires_grad=False)


def rgb_patches(slices: Tensor, patch: int) -> Tensor:
    """(B, 3, S, S) -> (B, N, 3 p^2), channels last within a patch, as the published decoders order them."""
    cut = slices.unfold(2, patch, patch).unfold(3, patch, patch)  # (B, 3, g, g, p, p)
    return cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a published file under our names: MAE's files hold {"model": ...}, timm's the same names flat."""
    inner = {key.removeprefix("model."): value for key, value in state.items() if key.startswith("model.")} or state
    return {key if key.startswith(DECODER) else f"encoder.{key}": value for key, value in inner.items()}


def fitted(state: Mapping[str, Tensor], model: Mae) -> dict[str, Tensor]:
    """``state`` for the image size of ``model``: position tables resized as timm does.

    The files that are commonly published have the encoder alone; the decoder then stays as ``model`` has it.
    """
    ours = dict(state)
    if not any(key.startswith(DECODER) for key in ours):
        ours |= {key: value for key, value in model.state_dict().items() if key.startswith(DECODER)}
    for key in ("encoder.pos_embed", "decoder_pos_embed"):
        if key in ours:
            ours[key] = resample_abs_pos_embed(ours[key], [model.grid, model.grid])
    return ours
