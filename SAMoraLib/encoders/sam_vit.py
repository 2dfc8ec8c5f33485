"""SAM's image encoder (the segment-anything package's ``ImageEncoderViT``) with blocks that can run an adapter.

Parameter names are the package's, so Meta's files load unchanged; the package's forward is the oracle in the tests.
Shapes: B images, H x W token grid, N = H * W, C embedding width, h heads, c = C / h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from SAMoraLib.encoders.block import Block, Encoder, module_list
from SAMoraLib.features import Features
from SAMoraLib.kernels.attention import Places, attention
from SAMoraLib.kernels.linear import product
from SAMoraLib.kernels.windows import partition, regions, unpartition
from SAMoraLib.packages.segment_anything import EncoderAttention, EncoderBlock, ImageEncoderViT, PatchEmbed
from SAMoraLib.packages.subclassed import as_subclass
from SAMoraLib.variants import EncoderSize


class SamAttention(EncoderAttention):
    """The package's attention, split into projection and attention."""

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
            attended = self._attend_in_windows(partition(region, window), window, window)
            out[:, rows, columns] = unpartition(attended, region)
        return self.proj(out)

    def _attend_in_windows(self, qkv: Tensor, height: int, width: int) -> Tensor:
        """(B, H', W', 3C) -> (B, H', W', C); the keys' window is ``height`` x ``width``, the tokens its first rows and
        columns.
        """
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).unbind(3)  # (B, H', W', h, c)
        q = q.contiguous()
        places = self._place_scores(q, height, width)
        if q.shape[1:3] != (height, width):
            _, bias_k, bias_v = self.qkv.bias.to(qkv.dtype).view(3, self.num_heads, -1)
            k, v = (_extended(tokens, bias, height, width) for tokens, bias in ((k, bias_k), (v, bias_v)))
        attended = attention(q.flatten(1, 2), k.flatten(1, 2), v.flatten(1, 2), places)
        return attended.flatten(2).unflatten(1, q.shape[1:3])

    def _place_scores(self, q: Tensor, height: int, width: int) -> Places:
        """q . R_h (B, N, h, height) and q . R_w (B, N, h, width) of unscaled q (B, H', W', h, c), as in the package.

        All distances at once, backwards: those from a query's row y to rows 0, 1, ... then follow each other from entry
        height - 1 - y on, and a view takes them out.
        """
        rows = _resize_relative(self.rel_pos_h, 2 * height - 1).flip(0)
        columns = _resize_relative(self.rel_pos_w, 2 * width - 1).flip(0)
        scores = product(q, torch.cat([rows, columns]).to(q.dtype))
        image, row, column, head, one = scores.stride()
        first_row, first_column = height - 1, len(rows) + width - 1
        by_row = scores.as_strided((*q.shape[:4], height), (image, row - one, column, head, one), first_row)
        by_column = scores.as_strided((*q.shape[:4], width), (image, row, column - one, head, one), first_column)
        return by_row.flatten(1, 2), by_column.flatten(1, 2)


def _extended(tokens: Tensor, bias: Tensor, height: int, width: int) -> Tensor:
    """Keys or values (B, H', W', h, c) -> (B, height, width, h, c), ``bias`` (h, c) beyond them."""
    whole = bias.expand(len(tokens), height, width, -1, -1).clone()
    whole[:, : tokens.shape[1], : tokens.shape[2]] = tokens
    return whole


class SamBlock(EncoderBlock):
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


class Patches(PatchEmbed):
    """The package's patch embedding, its tokens in the order of their shape.

    The convolution leaves channels outermost: every sum of the encoder would keep them so, and every LayerNorm turn
    them round again.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S / patch, S / patch, C)."""
        tokens: Tensor = super().forward(x)
        return tokens.contiguous()


class SamImageEncoder(ImageEncoderViT):
    """The package's image encoder with ``SamBlock`` s."""

    recompute = False  # in training: run each block again in the backward pass instead of keeping what it computed
    kept_blocks = 0  # how many of the last blocks' tokens the decoder wants
    blocks: MutableSequence[Block]
    patch_embed: nn.Module

    def __init__(self, size: EncoderSize, image_size: int) -> None:
        if image_size % size.patch_size:
            raise ValueError(f"Image size {image_size} is not a multiple of the patch size {size.patch_size}; "
                             f"choose e.g. {image_size // size.patch_size * size.patch_size or size.patch_size}.")
        super().__init__(img_size=image_size, patch_size=size.patch_size, embed_dim=size.embed_dim, depth=0,
                         out_chans=size.out_chans)
        grid = image_size // size.patch_size
        self.patch_embed = as_subclass(Patches, self.patch_embed)
        self.blocks = module_list(SamBlock(size, index, grid) for index in range(size.depth))
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

    def keep_blocks(self, count: int) -> None:
        """Give the decoder the tokens of the last ``count`` blocks, and spare the neck, which it does not ask for."""
        self.kept_blocks, self.neck = count, nn.Identity()

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

    def _computed(self, module: Callable[..., Tensor], *inputs: Any) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            recomputed: Tensor = checkpoint(module, *inputs, use_reentrant=False)
            return recomputed
        return module(*inputs)


def set_block_eps(encoder: Encoder, eps: float) -> None:
    """The epsilon of the normalisations of all blocks: Meta's is 1e-6, timm's 1e-5."""
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
