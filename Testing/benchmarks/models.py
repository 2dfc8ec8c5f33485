"""Every variant whole, encoder and decoder, at ViT-B or Hiera-B+: one slab at a time, and in its best batch."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from SAMoraLib.model import build_model
from SAMoraLib.variants import get_variant
from Testing.benchmarks.peers import package_encoder, random_slices
from Testing.benchmarks.precision import as_measured
from Testing.benchmarks.timing import in_turns, paired, seconds_of

VARIANTS = ("samed", "samed_s", "samora", "h_sam", "h_samora", "ma_sam", "samed_2", "samora_2")
BATCHES = {"cpu": {224: (2, 4, 8), 512: (2, 4)}, "cuda": {224: (8, 32), 512: (4, 16)}}  # slices, in slabs
CLASSES = 8
BLOCK = ("tp_mamba", 96)  # sees 96 slices of 96 pixels, whatever the scan


@dataclass(frozen=True)
class ModelRow:
    """One variant at one size, seconds per slice.

    Attributes:
        one: a single slab at a time.
        best: in the batch that is best.
        batch: slabs in it.
        ratio: ``best`` to the package's plain encoder, one slice of that size at a time.
    """

    name: str
    image_size: int
    depth: int
    batch: int
    one: float
    best: float
    ratio: float


@torch.inference_mode()
def measure_models(rounds: int, device: torch.device) -> Iterator[ModelRow]:
    """Every variant at every size that it is meant for."""
    sizes = BATCHES.get(device.type, BATCHES["cpu"])
    settings = [(name, image_size, batches) for image_size, batches in sizes.items() for name in VARIANTS]
    for name, image_size, batches in [*settings, (*BLOCK, ())]:
        with as_measured(device):
            row = _measure(name, image_size, batches, rounds, device)
        yield row


def _measure(name: str, image_size: int, slices: tuple[int, ...], rounds: int, device: torch.device) -> ModelRow:
    torch.manual_seed(0)
    model = build_model(get_variant(name), CLASSES, image_size).eval().to(device)
    package = package_encoder(get_variant("samed").size, image_size, lora=False).to(device)
    depth = model.variant.depth
    largest = max(1, max(slices, default=1) // depth)
    slabs = torch.rand(largest, 1, depth, image_size, image_size, device=device)
    batches = sorted({1, *(count // depth for count in slices if count >= depth)})
    best = min(batches, key=lambda count: seconds_of(partial(model, slabs[:count]), device) / count)
    works = [partial(model, slabs[:1]), partial(model, slabs[:best]),
             partial(package, random_slices(1, image_size, device))]
    one, many, theirs = in_turns(works, rounds, device)
    pair = paired(many, theirs, best * depth)
    return ModelRow(name, image_size, depth, best, statistics.median(one) / depth, pair.ours, pair.ratio)
