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
        boxes: (B, 4), the prompts of the slabs, if the decoder takes any: x0, y0, x1, y1 in pixels of the slices.
        noise: (N, h, w), standard deviation of the noise that training adds to H-SAM's mask features.
    """

    embedding: Tensor
    depth: int = 1
    skips: tuple[Tensor, ...] = ()
    blocks: tuple[Tensor, ...] = ()
    boxes: Tensor | None = None
    noise: Tensor | None = None
