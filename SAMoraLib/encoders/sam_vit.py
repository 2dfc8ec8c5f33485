"""SAM's image encoder (the segment-anything package's ``ImageEncoderViT``) with blocks that can run an adapter.

Parameter names are the package's, so Meta's files load unchanged; the package's forward is the oracle in the tests.
Shapes: B images, H x W token grid, N = H * W, C embedding width, h heads, c = C / h.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from SAMoraLib.features import Features
from SAMoraLib.torchvision_nms import ensure_torchvision_imports
from SAMoraLib.variants import EncoderSize

ensure_torchvision_imports()

from segment_anything.modeling.image_encoder import (  # noqa: E402  (needs torchvision to import)
    Attention,
    Block,
    ImageEncoderViT,
    get_rel_pos,
    window_partition,
    window_unpartition,
)

WRITTEN_OUT_TOKENS = 1024  # more, and the kept scores would take gigabytes


class SamAttention(Attention):
    """The package's attention, split into projection and attention, with the position bias folded into q and k."""

    def forward(self, x: Tensor, adapter: str | None = None) -> Tensor:
        """Attend within each window.

        Args:
            x: tokens (B, H, W, C).
            adapter: name of the low-rank pair to add on q and v; None leaves the choice to the qkv layer.

        Returns:
            (B, H, W, C).
        """
        qkv = self.qkv(x) if adapter is None else self.qkv(x, adapter)
        return self.attend(qkv)

    def attend(self, qkv: Tensor) -> Tensor:
        """Softmax attention with decomposed relative positions on projected tokens (B, H, W, 3C) -> (B, H, W, C).

        The bias q . R_h + q . R_w is appended to q and one-hot rows and columns to k, so that one plain
        scaled-dot-product attention gives scores and bias together and no (N, N) bias is stored.
        """
        batch, height, width, _ = qkv.shape
        q, k, v = qkv.reshape(batch, height * width, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        q = torch.cat([q * self.scale, *self._position_scores(q, height, width)], dim=-1)
        k = torch.cat([k, _row_and_column(height, width, k).expand(*k.shape[:3], -1)], dim=-1)
        return self.proj(attention(q, k, v).transpose(1, 2).reshape(batch, height, width, -1))

    def _position_scores(self, q: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        rel_h = get_rel_pos(height, height, self.rel_pos_h)
        rel_w = get_rel_pos(width, width, self.rel_pos_w)
        grid = q.unflatten(2, (height, width))  # (B, h, H, W, c); unscaled, as in the package
        by_row = torch.einsum("bnhwc,hkc->bnhwk", grid, rel_h).flatten(2, 3)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", grid, rel_w).flatten(2, 3)
        return by_row, by_column


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T) v for q and k (B, h, N, c'), v (B, h, N, c); ``mask`` (B, 1, 1, N) is False on keys that
    do not count.

    torch's fused kernel wants v as wide as q and k, hence the padding. On a CPU its backward pass in bfloat16 is up to
    five times slower than the products written out (windows of 100 tokens), which keep their scores for it instead.
    """
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if slow and q.shape[-2] <= WRITTEN_OUT_TOKENS:
        scores = q @ k.transpose(-1, -2)
        return (scores if mask is None else scores.masked_fill(~mask, float("-inf"))).softmax(dim=-1) @ v
    channels = v.shape[-1]
    v = F.pad(v, (0, q.shape[-1] - channels))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)[..., :channels]


def _row_and_column(height: int, width: int, like: Tensor) -> Tensor:
    """One-hot row and column of each token, (N, H + W)."""
    rows = torch.eye(height, dtype=like.dtype, device=like.device).repeat_interleave(width, dim=0)
    columns = torch.eye(width, dtype=like.dtype, device=like.device).repeat(height, 1)
    return torch.cat([rows, columns], dim=1)


class SamBlock(Block):
    """The package's block, taking the name of an adapter."""

    def __init__(self, size: EncoderSize, index: int, grid: int) -> None:
        window_size = 0 if index in size.global_attn_indexes else size.window_size
        super().__init__(size.embed_dim, size.num_heads, norm_layer=partial(nn.LayerNorm, eps=1e-6),
                         use_rel_pos=True, window_size=window_size, input_size=(grid, grid))
        side = window_size or grid
        self.attn = SamAttention(size.embed_dim, size.num_heads, use_rel_pos=True, input_size=(side, side))

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Attention and MLP with residuals (SAMora eq. 2-3; with ``adapter`` eq. 4-5) on (B, H, W, C).

        ``depth``: every so many of the B slices follow each other in a slab; blocks with 3D adapters look across them.
        """
        attended = self.to_windows(self.norm1(x))
        x = x + self.from_windows(self.attn(attended, adapter), x)
        return x + self.mlp(self.norm2(x))

    def to_windows(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * windows, side, side, C), zero-padded; unchanged in a global block."""
        return window_partition(x, self.window_size)[0] if self.window_size else x

    def from_windows(self, windows: Tensor, like: Tensor) -> Tensor:
        """The inverse of ``to_windows`` onto the grid of ``like`` (B, H, W, C)."""
        if not self.window_size:
            return windows
        height, width = like.shape[1:3]
        padded = tuple(-(-side // self.window_size) * self.window_size for side in (height, width))
        return window_unpartition(windows, self.window_size, padded, (height, width))


class SamImageEncoder(ImageEncoderViT):
    """The package's image encoder with ``SamBlock`` s."""

    recompute = False  # in training: run each block again in the backward pass instead of keeping what it computed
    kept_blocks = 0  # how many of the last blocks' tokens the decoder wants
    blocks: Any  # a ModuleList of SamBlock; as nn.Module its items would hide their own attributes from the checker

    def __init__(self, size: EncoderSize, image_size: int) -> None:
        if image_size % size.patch_size:
            raise ValueError(f"Image size {image_size} is not a multiple of the patch size {size.patch_size}; "
                             f"choose e.g. {image_size // size.patch_size * size.patch_size or size.patch_size}.")
        super().__init__(img_size=image_size, patch_size=size.patch_size, embed_dim=size.embed_dim, depth=0,
                         out_chans=size.out_chans)
        grid = image_size // size.patch_size
        self.blocks = nn.ModuleList(SamBlock(size, index, grid) for index in range(size.depth))
        self.depth_adapters = nn.ModuleList()  # one behind every block, or none: tokens and a slab's depth to tokens

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Image (B, 3, S, S) -> embedding (B, out_chans, S / patch, S / patch)."""
        return self.neck(self.tokens(x, adapter, depth).permute(0, 3, 1, 2))

    def features(self, slices: Tensor, depth: int) -> Features:
        """Slices (N, 3, S, S), ``depth`` of them a slab, as a decoder wants them."""
        if not self.kept_blocks:
            return Features(self(slices, depth=depth), depth)
        outputs = list(self.after_blocks(self.patch_embed(slices) + self.pos_embed, depth=depth))
        return Features(self.neck(outputs[-1].permute(0, 3, 1, 2)), depth, blocks=tuple(outputs[-self.kept_blocks:]))

    def tokens(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """The last block's tokens, before the neck: (B, 3, S, S) -> (B, H, W, C)."""
        return self.run_blocks(self.patch_embed(x) + self.pos_embed, adapter, depth)

    def run_blocks(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """All blocks on embedded tokens (B, H, W, C)."""
        for output in self.after_blocks(x, adapter, depth):
            x = output
        return x

    def after_blocks(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Iterator[Tensor]:
        """The tokens after each block, and what stands behind it: (B, H, W, C)."""
        for block, behind in zip_longest(self.blocks, self.depth_adapters):
            x = self._computed(block, x, adapter, depth)
            if behind is not None:
                x = self._computed(behind, x, depth)
            yield x

    def _computed(self, module: nn.Module, *inputs: Any) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(module, *inputs, use_reentrant=False)
        output: Tensor = module(*inputs)
        return output


def set_block_eps(encoder: SamImageEncoder, eps: float) -> None:
    """Another epsilon for the normalisations of all blocks: Meta's is 1e-6, timm's 1e-5."""
    for block in encoder.blocks:
        block.norm1.eps = block.norm2.eps = eps


def resize_position_tables(state: dict[str, Tensor], size: EncoderSize, image_size: int, mode: str = "bilinear"
                           ) -> dict[str, Tensor]:
    """Resize position tables of a SAM state dict (keys ``image_encoder.*``) for another image size.

    As SAMed, H-SAM and MA-SAM do (their ``load_from``): bilinear, ``align_corners=False``; the absolute table as an
    image, the relative tables of *global* blocks as (1, 1, L, c) images; tables of window blocks keep their length.

    With ``mode`` "bicubic" the absolute table is resized as timm does; its relative tables come out the same.
    """
    grid = image_size // size.patch_size
    resized = dict(state)
    resized["image_encoder.pos_embed"] = resize_absolute(state["image_encoder.pos_embed"], (grid, grid), mode)
    for index in size.global_attn_indexes:
        for axis in ("h", "w"):
            key = f"image_encoder.blocks.{index}.attn.rel_pos_{axis}"
            resized[key] = _resize_relative(state[key], 2 * grid - 1)
    return resized


def resize_absolute(table: Tensor, grid: tuple[int, int], mode: str) -> Tensor:
    """Position table (1, h, w, C) -> (1, *grid, C), "bilinear", or "bicubic" and averaged where it shrinks."""
    if tuple(table.shape[1:3]) == grid:
        return table
    image = F.interpolate(table.permute(0, 3, 1, 2), grid, mode=mode, align_corners=False, antialias=mode == "bicubic")
    return image.permute(0, 2, 3, 1)


def _resize_relative(table: Tensor, length: int) -> Tensor:
    if table.shape[0] == length:
        return table
    return F.interpolate(table[None, None], (length, table.shape[1]), mode="bilinear", align_corners=False)[0, 0]
