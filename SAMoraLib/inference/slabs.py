"""Whole volumes with a model that sees slabs of D slices (MA-SAM): every slice once, or once per place in a slab.

The released code shows each slice D times, at every place of a window, and averages; D = 5 times the work. ``streamed``
sends the volume through once, as a single slab of any length, in which each adapter answers with its mean over those
places. docs/variants/ma_sam.md has the work and the agreement of the two.

Legend: N slices at once, K channels of the logits, s side of the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import cast

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.adapters.depth_adapter import DepthAdapter, DepthBlock
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.features import Features
from SAMoraLib.model import SegmentationModel, as_rgb_slices

Logits = Iterator[tuple[slice, Tensor]]  # some consecutive slices, and theirs: (N, K, s, s)
Chunks = Iterator[tuple[Tensor, bool]]  # tokens (N, h, w, d) of consecutive slices, and whether they are the last
SMALLEST = 1e-20  # probability, so that its logarithm can be interpolated


@dataclass(frozen=True)
class Passes:
    """A volume and the two halves of a model.

    Attributes:
        images: slice numbers (N,) -> (N, C, S, S).
        decode: features of slices and their numbers -> logits (N, K, s, s).
        count: slices of the volume.
        batch_size: slices at once.
    """

    model: SegmentationModel
    images: Callable[[np.ndarray], Tensor]
    decode: Callable[[Features, np.ndarray], Tensor]
    count: int
    batch_size: int

    @property
    def encoder(self) -> SamImageEncoder:
        """SAM's: no row on SAM 2 sees slabs."""
        return cast("SamImageEncoder", self.model.image_encoder)


def streamed(passes: Passes, begin: int, end: int) -> Logits:
    """Slices begin..end (exclusive), each encoded once; those around, as far as the adapters reach, run along."""
    encoder = passes.encoder
    reach = 2 * len(encoder.blocks)
    start, stop = max(0, begin - reach), min(passes.count, end + reach)
    for embedding in _stream(passes, start, stop):
        numbers = np.arange(start, start + len(embedding))
        start += len(embedding)
        kept = (begin <= numbers) & (numbers < end)
        if kept.any():
            numbers, embedding = numbers[kept], embedding[torch.from_numpy(kept)]
            yield _span(numbers), passes.decode(Features(embedding, len(numbers)), numbers)


def overlapping(passes: Passes, begin: int, end: int) -> Logits:
    """Slices begin..end (exclusive), each the mean probability of the slabs around it, as in the released code.

    A slab is centred on every slice of the volume; at the ends the last slice is repeated.
    """
    depth = passes.model.variant.depth
    half = depth // 2
    sums: dict[int, Tensor] = {}
    for centre in range(max(0, begin - half), min(passes.count, end + half)):
        places = np.arange(depth) + centre - half
        numbers = places.clip(0, passes.count - 1)
        encoded = passes.model.encode(passes.images(numbers).transpose(0, 1)[None])
        probabilities = passes.decode(encoded, numbers).float().softmax(dim=1)
        for place, probability in zip(places.tolist(), probabilities, strict=True):
            if begin <= place < end:
                sums[place] = sums.get(place, 0) + probability
        if centre - half in sums:
            yield _mean(sums, centre - half)
    for place in sorted(sums):
        yield _mean(sums, place)


SLAB_PASSES = {"streamed": streamed, "overlapping": overlapping}


def _mean(sums: dict[int, Tensor], place: int) -> tuple[slice, Tensor]:
    total = sums.pop(place)
    return slice(place, place + 1), (total / total.sum(dim=0)).clamp_min(SMALLEST).log()[None]


def _span(numbers: np.ndarray) -> slice:
    return slice(int(numbers[0]), int(numbers[-1]) + 1)


def _stream(passes: Passes, start: int, stop: int) -> Iterator[Tensor]:
    """Embeddings (N, C, h, w) of slices start..stop in order, some at a time."""
    encoder = passes.encoder
    chunks = _embedded(passes, start, stop)
    for block in cast("Sequence[DepthBlock]", encoder.blocks):
        chunks = _through(block, chunks, passes)
    for tokens, _ in chunks:
        yield encoder.neck(tokens.permute(0, 3, 1, 2))


def _embedded(passes: Passes, start: int, stop: int) -> Chunks:
    encoder = passes.encoder
    for first in range(start, stop, passes.batch_size):
        last = min(first + passes.batch_size, stop)
        slices = as_rgb_slices(passes.images(np.arange(first, last)).transpose(0, 1)[None])
        yield encoder.patch_embed(slices) + encoder.pos_embed, last == stop


def _through(block: DepthBlock, chunks: Chunks, passes: Passes) -> Chunks:
    """A block on chunks: only its adapters look from one chunk into the next."""
    before, after = block.depth_adapters
    attended = ((block.attend(tokens), last) for tokens, last in _across(before, chunks, passes))
    return ((block.finish(tokens), last) for tokens, last in _across(after, attended, passes))


def _across(adapter: DepthAdapter, chunks: Chunks, passes: Passes) -> Chunks:
    """An adapter on chunks: the newest slice waits for the one above it."""
    depth = passes.model.variant.depth
    waiting = reduced = None  # ``reduced`` begins one slice below ``waiting``
    for tokens, last in chunks:
        new = adapter.reduce(tokens)
        beyond = torch.zeros_like(new[:1])
        waiting = tokens if waiting is None else torch.cat([waiting, tokens])
        reduced = torch.cat([beyond if reduced is None else reduced, new, beyond[:last]])
        done = len(reduced) - 2
        pieces = adapter.averaged(waiting[:done], reduced, depth).split(passes.batch_size) if done else ()
        for number, piece in zip(count(1), pieces):
            yield piece, last and number == len(pieces)
        waiting, reduced = waiting[done:], reduced[done:]
