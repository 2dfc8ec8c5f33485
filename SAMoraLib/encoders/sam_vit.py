"""SAM's image encoder (the segment-anything package's ``ImageEncoderViT``) with blocks that can run an adapter.

Parameter names are the package's, so Meta's files load unchanged; the package's forward is the oracle in the tests.
Shapes: B images, H x W token grid, N = H * W, C embedding width, h heads, c = C / h.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from SAMoraLib.encoders.linear import Linear, convolutions_are_faster, product
from SAMoraLib.encoders.windows import cut, joined, regions
from SAMoraLib.features import Features
from SAMoraLib.segment_anything_modeling import ensure_modeling_imports
from SAMoraLib.variants import EncoderSize

ensure_modeling_imports()

from segment_anything.modeling.image_encoder import (  # noqa: E402  (needs torchvision to import)
    Attention,
    Block,
    ImageEncoderViT,
    get_rel_pos,
)

MANY_KEYS = 512  # from here on oneDNN, head by head, is faster than torch's attention
SCORES = 1 << 20  # floats that are computed at once: 4 MB
WRITTEN_OUT_TOKENS = 1024  # more, and the kept scores would take gigabytes


class SamAttention(Attention):
    """The package's attention, split into projection and attention, with the position bias folded into q and k."""

    def forward(self, x: Tensor, adapter: str | None = None, window: int = 0) -> Tensor:
        """Attend among all tokens, or within windows.

        Args:
            x: tokens (B, H, W, C).
            adapter: name of the low-rank pair to add on q and v; None leaves the choice to the qkv layer.
            window: side of the windows; 0 for none.

        Returns:
            (B, H, W, C).
        """
        return self.attend(self.qkv(x) if adapter is None else self.qkv(x, adapter), window)

    def attend(self, qkv: Tensor, window: int = 0) -> Tensor:
        """Softmax attention with decomposed relative positions on projected tokens (B, H, W, 3C) -> (B, H, W, C).

        A window that reaches beyond the grid holds tokens of zeros there (as in the package): their keys and values are
        the projection's bias. They are no queries, so nothing is computed for them.
        """
        height, width = qkv.shape[1:3]
        if not window:
            return self.proj(self._attend_in_windows(qkv, height, width))
        out = qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)
        for rows, columns in regions(height, width, window):
            region = qkv[:, rows, columns]
            out[:, rows, columns] = joined(self._attend_in_windows(cut(region, window), window, window), region)
        return self.proj(out)

    def _attend_in_windows(self, qkv: Tensor, height: int, width: int) -> Tensor:
        """(B, H', W', 3C) -> (B, H', W', C); the keys' window is ``height`` x ``width``, the tokens its first rows and
        columns.
        """
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(3, 0, 4, 1, 2, 5).unbind(0)  # (B, h, H', W', c)
        by_row, by_column = self._position_scores(q, height, width)
        size = q.shape[2:4]
        if size != (height, width):
            _, bias_k, bias_v = self.qkv.bias.to(qkv.dtype).view(3, 1, self.num_heads, 1, 1, -1)
            k, v = (_extended(tokens, bias, height, width) for tokens, bias in ((k, bias_k), (v, bias_v)))
        attended = attention_by_place(q.flatten(2, 3) * self.scale, k.flatten(2, 3), v.flatten(2, 3), by_row, by_column)
        return attended.transpose(1, 2).flatten(2).unflatten(1, size)

    def _position_scores(self, q: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """q . R_h (B, h, N, height) and q . R_w (B, h, N, width) of unscaled q (B, h, H', W', c), as in the package."""
        rel_h = get_rel_pos(height, height, self.rel_pos_h)[: q.shape[2]]
        rel_w = get_rel_pos(width, width, self.rel_pos_w)[: q.shape[3]]
        by_row = torch.einsum("bnhwc,hkc->bnhwk", q, rel_h).flatten(2, 3)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", q, rel_w).flatten(2, 3)
        return by_row, by_column


def attention_by_place(q: Tensor, k: Tensor, v: Tensor, by_row: Tensor, by_column: Tensor) -> Tensor:
    """softmax(q k^T + by_row + by_column) v for q (B, h, N, c), k and v (B, h, H * W, c), by_row (B, h, N, H) and
    by_column (B, h, N, W).

    The bias is appended to q and one-hot rows and columns to k, so that one plain attention gives scores and bias
    together and no (N, N) bias is stored (docs/decisions/0002). With few keys and no gradients, storing it is cheaper.
    """
    if k.shape[-2] < MANY_KEYS and not recorded(q, k, v, by_row, by_column) and q.device.type == "cpu":
        bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(3)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
    q = torch.cat([q, by_row, by_column], dim=-1)
    k = torch.cat([k, _row_and_column(by_row.shape[-1], by_column.shape[-1], k).expand(*k.shape[:3], -1)], dim=-1)
    return attention(q, k, v)


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T) v for q (B, h, N, c'), k (B, h, M, c') and v (B, h, M, c).

    torch's fused kernel wants v as wide as q and k, hence the padding. On a CPU its backward pass in bfloat16 is up to
    five times slower than the products written out (windows of 100 tokens), which keep their scores for it instead.
    """
    differentiated = recorded(q, k, v)
    slow = q.device.type == "cpu" and q.dtype == torch.bfloat16 and differentiated
    if slow and q.shape[-2] <= WRITTEN_OUT_TOKENS:
        return (q @ k.transpose(-1, -2)).softmax(dim=-1) @ v
    if k.shape[-2] >= MANY_KEYS and convolutions_are_faster(q) and not differentiated:
        return _attention_by_head(q, k, v)
    channels = v.shape[-1]
    v = F.pad(v, (0, q.shape[-1] - channels))
    return F.scaled_dot_product_attention(q, k, v, scale=1.0)[..., :channels]


def recorded(*inputs: Tensor) -> bool:
    """Whether autograd follows them: not what stands before the first trained weight, in training either."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)


def _attention_by_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``attention`` by oneDNN, as many rows of scores at once as a processor's cache holds."""
    out = v.new_empty(*q.shape[:3], v.shape[-1])
    rows = max(SCORES // k.shape[-2], 1)
    for image, head in itertools.product(range(q.shape[0]), range(q.shape[1])):
        values = v[image, head].T.contiguous()
        for start in range(0, q.shape[2], rows):
            scores = product(q[image, head, start : start + rows], k[image, head])
            out[image, head, start : start + rows] = product(scores.softmax(dim=-1), values)
    return out


def _extended(tokens: Tensor, bias: Tensor, height: int, width: int) -> Tensor:
    """Keys or values (B, h, H', W', c) -> (B, h, height, width, c), ``bias`` (1, h, 1, 1, c) beyond them."""
    whole = bias.expand(*tokens.shape[:2], height, width, -1).clone()
    whole[:, :, : tokens.shape[2], : tokens.shape[3]] = tokens
    return whole


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
        self.attn.qkv, self.attn.proj = Linear(self.attn.qkv), Linear(self.attn.proj)
        self.mlp.lin1, self.mlp.lin2 = Linear(self.mlp.lin1), Linear(self.mlp.lin2)

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Attention and MLP with residuals (SAMora eq. 2-3; with ``adapter`` eq. 4-5) on (B, H, W, C).

        ``depth``: every so many of the B slices follow each other in a slab; blocks with 3D adapters look across them.
        """
        x = x + self.attn(self.norm1(x), adapter, self.window_size)
        return x + self.mlp(self.norm2(x))

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What passes the attention by, and what goes into it: (B, H, W, C) each."""
        return x, self.norm1(x)

    def to_attention(self, x: Tensor) -> Tensor:
        """Tokens (B, H, W, C) as the projection wants them: on the grid, where no padding is projected."""
        return x

    def from_attention(self, qkv: Tensor, like: Tensor) -> Tensor:
        """Projected tokens (any batch, H, W, 3C) -> what the attention adds to tokens ``like`` (B, H, W, C)."""
        return self.attn.attend(qkv, self.window_size)

    @property
    def window_out(self) -> int:
        """Side of the windows in which the block's output lies; 0 in a global block."""
        return self.window_size


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

    @property
    def grid(self) -> int:
        """Tokens of the embedding along a side."""
        return int(self.pos_embed.shape[1])

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
