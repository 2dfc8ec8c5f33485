"""SAM 2's image encoder (the sam2 package's ``Hiera`` and ``FpnNeck``) with blocks that can run an adapter.

Parameter names are the package's, so Meta's files load unchanged; the package's forward is the oracle in the tests.
Shapes: B images, H x W token grid of a stage, C its width; a block that begins a stage halves H and W and doubles C.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableSequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from SAMoraLib.encoders.block import Block, module_list
from SAMoraLib.features import Features
from SAMoraLib.kernels.attention import attention
from SAMoraLib.packages.sam2 import (
    FpnNeck,
    Hiera,
    ImageEncoder,
    MultiScaleAttention,
    MultiScaleBlock,
    PatchEmbed,
    PositionEmbeddingSine,
    do_pool,
    window_partition,
    window_unpartition,
)
from SAMoraLib.packages.subclassed import as_subclass
from SAMoraLib.variants import HieraSize

TOP_DOWN = (2, 3)  # levels of the neck that the next coarser one is added to, as in all of Meta's configurations


class HieraAttention(MultiScaleAttention):
    """The package's attention, split into projection and attention."""

    def attend(self, qkv: Tensor) -> Tensor:
        """Softmax attention on projected tokens (B, H, W, 3C'); where a stage begins, of queries pooled 2 x 2."""
        q, k, v = qkv.chunk(3, dim=-1)
        q = do_pool(q, self.q_pool)
        height, width = q.shape[1:3]
        q, k, v = (x.flatten(1, 2).unflatten(-1, (self.num_heads, -1)) for x in (q, k, v))
        out: Tensor = self.proj(attention(q, k, v).flatten(2).unflatten(1, (height, width)))
        return out


class HieraBlock(MultiScaleBlock):
    """The package's block, taking the name of an adapter."""

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Attention and MLP with residuals (SAMora eq. 2-3; with ``adapter`` eq. 4-5) on (B, H, W, C)."""
        shortcut, normalised = self.enter(x)
        qkv, windows = self.attn.qkv, self.to_attention(normalised)
        x = shortcut + self.from_attention(qkv(windows) if adapter is None else qkv(windows, adapter), shortcut)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What passes the attention by, on the output's grid, and what goes into it."""
        normalised = self.norm1(x)
        return (x if self.dim == self.dim_out else do_pool(self.proj(normalised), self.pool)), normalised

    @property
    def window_out(self) -> int:
        """Side of the windows on the output's grid; 0 in a global block."""
        return self.window_size // self.q_stride[0] if self.q_stride else self.window_size

    def to_attention(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B * windows, side, side, C), zero-padded; unchanged in a global block."""
        return window_partition(x, self.window_size)[0] if self.window_size else x

    def from_attention(self, qkv: Tensor, like: Tensor) -> Tensor:
        """Projected windows -> the attention's output on the output's grid, which ``like`` (B, H, W, C') has."""
        windows = self.attn.attend(qkv)
        if not self.window_out:
            return windows
        height, width = like.shape[1:3]
        padded = tuple(-(-side // self.window_out) * self.window_out for side in (height, width))
        out: Tensor = window_unpartition(windows, self.window_out, padded, (height, width))
        return out


class HieraPatches(PatchEmbed):
    """The package's patch embedding, its tokens in the order of their shape, as in ``sam_vit.Patches``."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, S / 4, S / 4, C)."""
        tokens: Tensor = super().forward(x)
        return tokens.contiguous()


class HieraTrunk(Hiera):
    """The package's Hiera with ``HieraBlock`` s."""

    blocks: MutableSequence[Block]
    patch_embed: nn.Module
    recompute = False  # in training: run each block again in the backward pass instead of keeping what it computed

    def __init__(self, size: HieraSize) -> None:
        super().__init__(size.embed_dim, size.num_heads, stages=size.stages, window_spec=size.window_spec,
                         global_att_blocks=size.global_attn_indexes,
                         window_pos_embed_bkg_spatial_size=(size.background, size.background))
        self.patch_embed = as_subclass(HieraPatches, self.patch_embed)
        for block in self.blocks:
            block.attn = as_subclass(HieraAttention, block.attn)
        self.blocks = module_list(as_subclass(HieraBlock, block) for block in self.blocks)

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> list[Tensor]:
        """Image (B, 3, H', W') -> the output (B, C, H, W) of each stage, the finest first."""
        tokens = self.patch_embed(x)
        return self.run_stages(tokens + self.positions(*tokens.shape[1:3]), adapter, depth)

    def positions(self, height: int, width: int) -> Tensor:
        """What tokens are told of their place: (1, height, width, C)."""
        table: Tensor = self._get_pos_embed((height, width))
        return table

    def run_stages(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> list[Tensor]:
        """All blocks on embedded tokens (B, H, W, C) -> the output (B, C, H, W) of each stage."""
        outputs = list(self._after_blocks(x, adapter, depth))
        return [outputs[end].permute(0, 3, 1, 2) for end in self.stage_ends]

    def _after_blocks(self, x: Tensor, adapter: str | None, depth: int) -> Iterator[Tensor]:
        for block in self.blocks:
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, adapter, depth, use_reentrant=False)
            else:
                x = block(x, adapter, depth)
            yield x


class Sam2ImageEncoder(ImageEncoder):
    """The package's trunk and neck for square slices of ``image_size`` pixels.

    A model's slices are square, because preprocessing makes them so. The forward pass also takes others, of sides that
    the trunk's windows and poolings divide.

    Raises:
        ValueError: the trunk's windows and poolings do not divide the image.
    """

    def __init__(self, size: HieraSize, image_size: int) -> None:
        step = HieraSize.first_patch * max(size.window_spec[0], 2 ** (len(size.stages) - 1))
        if image_size < step or image_size % step:
            raise ValueError(f"Image size {image_size} is not a multiple of {step}, which Hiera's windows and poolings "
                             f"need; choose e.g. {image_size // step * step or step}.")
        neck = FpnNeck(PositionEmbeddingSine(size.out_chans, warmup_cache=False), size.out_chans,
                       list(size.channels[::-1]), fpn_top_down_levels=TOP_DOWN, fpn_interp_model="nearest")
        super().__init__(HieraTrunk(size), neck, scalp=1)
        self.img_size = image_size
        self.grid = image_size // size.patch_size

    @property
    def blocks(self) -> MutableSequence[Block]:
        blocks: MutableSequence[Block] = self.trunk.blocks
        return blocks

    @property
    def patch_embed(self) -> nn.Module:
        """(B, 3, S, S) -> tokens (B, S / 4, S / 4, C)."""
        patches: nn.Module = self.trunk.patch_embed
        return patches

    @property
    def pos_embed(self) -> Tensor:
        """What these tokens are told of their place: (1, S / 4, S / 4, C)."""
        side = self.img_size // HieraSize.first_patch
        return self.trunk.positions(side, side)

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Image (B, 3, H, W) -> embedding (B, out_chans, H / 16, W / 16)."""
        return self.levels(self.trunk(x, adapter, depth))[-1]

    def tokens(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """The embedding as tokens: (B, 3, S, S) -> (B, S / 16, S / 16, out_chans)."""
        return self(x, adapter, depth).permute(0, 2, 3, 1)

    def run_blocks(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """All blocks and the neck on embedded tokens (B, S / 4, S / 4, C) -> (B, S / 16, S / 16, out_chans)."""
        return self.levels(self.trunk.run_stages(x, adapter, depth))[-1].permute(0, 2, 3, 1)

    def features(self, slices: Tensor, depth: int) -> Features:
        """Slices (N, 3, S, S), ``depth`` of them a slab; the skips have four times and twice the embedding's side."""
        *skips, embedding = self.levels(self.trunk(slices, depth=depth))
        return Features(embedding, depth, skips=tuple(skips))

    def levels(self, stages: list[Tensor]) -> list[Tensor]:
        """The stages' outputs (B, C, H, W) -> the neck's maps (B, out_chans, H, W), finest first, less the coarsest."""
        levels: list[Tensor] = self.neck(stages)[0]
        return levels[: len(levels) - self.scalp]
