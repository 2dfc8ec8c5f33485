"""What an image encoder gives to a decoder."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Features:
    """Features of B slabs of D slices, slice by slice: N = B * D, the slices of a slab in a row.

    Attributes:
        embedding: (N, C, h, w).
        depth: D.
        skips: finer maps, the finest first (SAM 2).
        blocks: tokens (N, h, w, C) after the blocks that the decoder asked for.
    """

    embedding: Tensor
    depth: int = 1
    skips: tuple[Tensor, ...] = ()
    blocks: tuple[Tensor, ...] = ()
