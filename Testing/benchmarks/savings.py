"""What the options bring and cost that are faster and not exact: time and Dice beside the same work without them.

    python -m Testing.benchmarks.savings                    # phantoms, and ViT-B: four minutes on two cores
    python -m Testing.benchmarks.savings --volume CT.nii.gz
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from SAMoraLib.checkpoint import load_model
from SAMoraLib.cli import CT_ABDOMEN
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.device import half_type
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.kernels.linear import multiply_in_int8
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.system.allocator import keep_freed_memory
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Testing.benchmarks.models import CLASSES
from Testing.benchmarks.report import this_machine
from Testing.benchmarks.timing import in_turns, paired
from Training.reports.metrics import dice

CPU = torch.device("cpu")
SEEDS = (9001, 9002, 9003)  # of phantoms that no model was trained on
OPTIONS = {"full": ("full", 1), "half": ("half", 1), "int8": ("int8", 1),  # name -> precision, skim
           "skim 2": ("full", 2), "skim 4": ("full", 4), "skim 8": ("full", 8)}
MODELS = (("samed", 224, 4), ("samora", 224, 4), ("ma_sam", 224, 1), ("samed_2", 224, 4), ("samed", 512, 4))


@dataclass(frozen=True)
class Price:
    """One option on volumes; Dice is a mean of organs.

    Attributes:
        ratio: of its time to that without it.
        truth: Dice against true labels, NaN where there are none.
        kept: Dice against the labels without it.
        worst: of the organ that changed most.
    """

    name: str
    ratio: float
    truth: float
    kept: float
    worst: float


def predictor(precision: str, skim: int) -> Predictor:
    """The package's CT model under an option."""
    model, card = load_model(CT_ABDOMEN)
    made = Predictor(model, card, skim=skim)
    made.compute_in(precision)
    return made


def prices(volumes: Sequence[Volume], truths: Sequence[np.ndarray], rounds: int) -> list[Price]:
    """Of every option; ``truths`` may be empty."""
    predictors = [predictor(*option) for option in OPTIONS.values()]
    organs = range(1, 1 + len(predictors[0].labels))
    labels = [[each.predict(volume).array for volume in volumes] for each in predictors]
    seconds = in_turns([partial(_predict_all, each, volumes) for each in predictors], rounds, CPU)
    found = []
    for name, theirs, times in zip(OPTIONS, labels, seconds, strict=True):
        scores = np.array([organ_dice(a, b, organs) for a, b in zip(theirs, labels[0], strict=True)])
        kept = np.nanmean(scores[:, ~np.isnan(scores).all(axis=0)], axis=0)
        true = [organ_dice(a, b, organs) for a, b in zip(theirs, truths, strict=True)] if truths else None
        found.append(Price(name, paired(times, seconds[0]).ratio, math.nan if true is None else float(np.nanmean(true)),
                           float(kept.mean()), float(kept.min())))
    return found


def _predict_all(each: Predictor, volumes: Sequence[Volume]) -> None:
    for volume in volumes:
        each.predict(volume)


def organ_dice(prediction: np.ndarray, reference: np.ndarray, organs: Sequence[int]) -> list[float]:
    """Of each organ; NaN where neither has it."""
    return [dice(prediction == organ, reference == organ) for organ in organs]


@torch.inference_mode()
def model_row(name: str, image_size: int, batch: int, rounds: int) -> str:
    """A large model of random weights: how much faster, and how far its logits move."""
    torch.manual_seed(0)
    model = build_model(get_variant(name), CLASSES, image_size).eval()
    rounded = build_model(get_variant(name), CLASSES, image_size).eval()
    rounded.load_state_dict(model.state_dict())
    multiply_in_int8(rounded.image_encoder.blocks)
    slabs = torch.rand(batch, 1, model.variant.depth, image_size, image_size)
    works = [partial(_logits, model, slabs, False), partial(_logits, model, slabs, True),
             partial(_logits, rounded, slabs, False)]
    full, half, int8 = (work() for work in works)
    moved = [float((other - full).abs().max() / full.abs().max()) for other in (half, int8)]
    seconds = in_turns(works, rounds, CPU)
    per_slice = statistics.median(seconds[0]) / (batch * model.variant.depth)
    half_ratio, int8_ratio = (paired(times, seconds[0]).ratio for times in seconds[1:])
    return (f"| {name} | {image_size} | {per_slice:.3f} | {half_ratio:.2f} | {moved[0]:.1%} | {int8_ratio:.2f} "
            f"| {moved[1]:.1%} |")


def _logits(model: SegmentationModel, slabs: torch.Tensor, half: bool) -> torch.Tensor:
    with torch.autocast("cpu", half_type(CPU), enabled=half):
        return model(slabs).low_res_logits.float()


def table(title: str, found: Sequence[Price]) -> str:
    lines = [f"\n{title}\n", "| option | time | Dice | Dice to the labels without it | worst organ |",
             "|---|---|---|---|---|"]
    lines += [f"| {row.name} | {row.ratio:.2f} | {row.truth:.4f} | {row.kept:.4f} | {row.worst:.4f} |" for row in found]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks.savings",
                                     description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--volume", type=Path, action="append", default=[], help="also this CT, e.g. a real one")
    parser.add_argument("--rounds", type=int, default=3, help="pairs whose median counts (default: %(default)s)")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    print(this_machine(CPU))
    phantoms = [make_phantom(seed) for seed in SEEDS]
    print(table("Phantoms", prices([each.ct for each in phantoms], [each.labels.array for each in phantoms],
                                   options.rounds)))
    for path in options.volume:
        print(table(str(path), prices([read_volume(path)], [], options.rounds)))
    print("\n| model | pixels | s per slice | half: time | logits | int8: time | logits |\n" + "|---" * 7 + "|")
    for name, image_size, batch in MODELS:
        print(model_row(name, image_size, batch, options.rounds), flush=True)


if __name__ == "__main__":
    main()
