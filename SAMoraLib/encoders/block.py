"""What adapters, decoders and training stages may ask of an encoder and of its blocks: SAM's ViT and SAM 2's Hiera.

Adding an expert's stream, a fusion or a low-rank pair needs no more than this, so it works on both.
Shapes: B images, H x W token grid, C width; where a stage of Hiera begins, a block's output is coarser and wider.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableSequence
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from torch import Tensor, nn

from SAMoraLib.features import Features

Item = TypeVar("Item")


class Block(Protocol):
    """A transformer block that can be run in parts.

    Attributes:
        attn: the attention, whose ``qkv`` is a fused Linear that adapters may replace.
        mlp: the feed-forward part.
        norm1, norm2: what stands before the attention and before the feed-forward part.
    """

    attn: Any
    mlp: nn.Module
    norm1: nn.LayerNorm
    norm2: nn.LayerNorm

    def __call__(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Attention and MLP with residuals (SAMora eq. 2-3; with ``adapter`` eq. 4-5) on (B, H, W, C).

        ``depth``: every so many of the B slices follow each other in a slab.
        """

    def enter(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What passes the attention by, on the output's grid, and what goes into it."""

    def to_attention(self, x: Tensor) -> Tensor:
        """Tokens as the projection wants them: on the grid, or in windows."""

    def from_attention(self, qkv: Tensor, like: Tensor) -> Tensor:
        """Projected tokens of any batch -> what the attention adds to tokens ``like``."""

    @property
    def window_out(self) -> int:
        """Side of the windows in which the block's output lies; 0 in a global block."""


class Encoder(Protocol):
    """An image encoder for square slices of ``img_size`` pixels."""

    img_size: int

    @property
    def blocks(self) -> MutableSequence[Block]:
        """In order; an item may be exchanged."""

    @property
    def grid(self) -> int:
        """Tokens of the embedding along a side."""

    @property
    def patch_embed(self) -> nn.Module:
        """(B, 3, S, S) -> the first block's tokens, before they are told of their place."""

    @property
    def pos_embed(self) -> Tensor:
        """What these tokens are told of their place: (1, h, w, C)."""

    def __call__(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Image (B, 3, S, S) -> embedding (B, out_chans, grid, grid)."""

    def tokens(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Tokens on the embedding's grid: (B, 3, S, S) -> (B, grid, grid, C)."""

    def run_blocks(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """The same from embedded tokens."""

    def features(self, slices: Tensor, depth: int) -> Features:
        """Slices (N, 3, S, S), ``depth`` of them a slab, as a decoder wants them."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        """As ``nn.Module``: what an adapter adds to the encoder as a whole."""


@runtime_checkable
class BlockStack(Protocol):
    """What holds the blocks: SAM's encoder itself, SAM 2's trunk.

    Attributes:
        recompute: in training, run each block again in the backward pass instead of keeping what it computed.
    """

    recompute: bool
    blocks: MutableSequence[Block]


def stacks_in(module: nn.Module) -> list[BlockStack]:
    """Every stack of blocks in a module, in the order in which they are registered."""
    return [part for part in module.modules() if isinstance(part, BlockStack)]


def module_list(items: Iterable[Item]) -> MutableSequence[Item]:
    """A ``ModuleList`` whose items keep their own attributes for the type checker."""
    return cast("MutableSequence[Item]", nn.ModuleList(cast("Iterable[nn.Module]", items)))
