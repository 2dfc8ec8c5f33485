"""Our encoders against the package's, per slice."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch

from SAMoraLib.model import build_encoder
from SAMoraLib.variants import Variant, get_variant
from Testing.benchmarks.flops import needed_operations
from Testing.benchmarks.peak import matrix_peak
from Testing.benchmarks.peers import package_encoder, random_slices, released_state
from Testing.benchmarks.precision import as_measured
from Testing.benchmarks.timing import in_turns, paired

BATCHES = {"cpu": {224: (1, 4, 8), 512: (1, 2, 4), 1024: (1,)},
           "cuda": {224: (1, 8, 32, 128), 512: (1, 8, 32), 1024: (1, 4, 8)}}
PEAK_ROUNDS = 3  # of each product, beside every round of the encoders
BARS = {  # issue: (against one slice at a time, against its own best batch)
    ("samed", 224): (0.70, 0.85), ("samed", 512): (0.55, 0.65), ("samed", 1024): (0.50, None),
    ("samora block", 224): (2.4, None), ("samora block", 512): (2.0, None),
    ("samora attention", 224): (1.1, None), ("samora attention", 512): (1.1, None),
}


@dataclass(frozen=True)
class EncoderRow:
    """One of our encoders at one size, seconds per slice, and its ratios to the package's.

    Attributes:
        rate: needed operations per second.
        share_of_peak: ``rate`` in that of the best product of matrices, round by round.
    """

    name: str
    image_size: int
    batch: int
    ours: float
    package_single: float
    package_batch: float
    ratio_single: float
    ratio_batch: float
    rate: float
    share_of_peak: float
    bars: tuple[float | None, float | None]


def rows() -> dict[str, tuple[Variant, tuple[int, int], bool]]:
    """Name -> variant, how many streams attend and pass the MLP, and whether the peer carries a LoRA, too."""
    samed, samora = get_variant("samed"), get_variant("samora")
    assert samora.fusion is not None
    attention = replace(samora, fusion=replace(samora.fusion, scope="attention"))
    return {"samed": (samed, (1, 1), True), "samora block": (samora, (4, 4), False),
            "samora attention": (attention, (4, 1), False)}


@torch.inference_mode()
def measure_encoders(image_sizes: tuple[int, ...], rounds: int, device: torch.device) -> Iterator[EncoderRow]:
    """Every row of the table at every size; the batch is the one that is best in a first round."""
    for image_size in image_sizes:
        for name, (variant, streams, lora) in rows().items():
            if (name, image_size) in BARS:
                with as_measured(device):
                    row = _measure(name, variant, streams, lora, image_size, rounds, device)
                yield row


def _measure(name: str, variant: Variant, streams: tuple[int, int], lora: bool, image_size: int, rounds: int,
             device: torch.device) -> EncoderRow:
    torch.manual_seed(0)
    ours = build_encoder(variant, image_size).eval().to(device)
    package = package_encoder(variant.size, image_size, lora).to(device)
    batches = BATCHES.get(device.type, BATCHES["cpu"])[image_size]
    slices = random_slices(max(batches), image_size, device)
    best, theirs_best = (min(batches, key=lambda n, e=encoder: _seconds(e, slices[:n], device) / n)
                         for encoder in (ours, package))
    peaks: list[float] = []  # of each round, because the machine's limit changes, too
    works = [partial(ours, slices[:best]), partial(package, slices[:1]), partial(package, slices[:theirs_best]),
             lambda: peaks.append(matrix_peak(device, PEAK_ROUNDS))]
    ours_s, single_s, batch_s, _ = in_turns(works, rounds, device)
    operations = best * operations_of(variant, streams, image_size)
    rates = [operations / time for time in ours_s]
    share = statistics.median(rate / peak for rate, peak in zip(rates, peaks[1:], strict=True))
    one, many = paired(ours_s, single_s, best), paired(ours_s, batch_s, best, theirs_best)
    return EncoderRow(name, image_size, best, one.ours, one.theirs, many.theirs, one.ratio, many.ratio,
                      statistics.median(rates), share, BARS[name, image_size])


def operations_of(variant: Variant, streams: tuple[int, int], image_size: int) -> float:
    """What a row's encoder has to do for a slice."""
    return needed_operations(variant.size, image_size, *streams, variant.fusion.width if variant.fusion else 0)


def _seconds(encoder: torch.nn.Module, slices: torch.Tensor, device: torch.device) -> float:
    (times,) = in_turns([partial(encoder, slices)], 1, device)
    return times[0]


@torch.inference_mode()
def largest_difference(image_size: int) -> float:
    """Between our samed and the package's encoder with the same LoRA, float32, relative to the embedding's largest."""
    torch.manual_seed(0)
    variant = get_variant("samed")
    ours = build_encoder(variant, image_size).eval()
    for name, parameter in ours.named_parameters():
        if name.endswith((".b", "rel_pos_h", "rel_pos_w", "pos_embed")):  # zero at the start
            parameter.copy_(0.02 * torch.randn(parameter.shape))
    package = package_encoder(variant.size, image_size, lora=True)
    package.load_state_dict(released_state(ours.state_dict()))
    slices = random_slices(1, image_size, torch.device("cpu"))
    expected = package(slices)
    return float((ours(slices) - expected).abs().max() / expected.abs().max())


