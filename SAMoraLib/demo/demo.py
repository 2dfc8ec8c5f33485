"""``samora demo``: make a phantom abdomen, segment it with the checkpoint in the package, show what was found."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from SAMoraLib.checkpoint import load_model
from SAMoraLib.demo.overlay import write_overlay
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.organ_table import OrganRow, organ_table
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.io import write_segmentation, write_volume

CHECKPOINT = Path(__file__).with_name("demo.safetensors")
WINDOW = (-140.0, 220.0)  # HU, the usual soft-tissue window


def run_demo(seed: int, output: Path, as_json: bool = False) -> float:
    """Make, segment, measure, and write ``ct.nii.gz``, ``segmentation.seg.nrrd``, ``.nii.gz`` and ``overlay.png``.

    Returns:
        Mean Dice over the organs of the phantom.
    """
    started = time.monotonic()
    model, card = load_model(CHECKPOINT)
    predictor = Predictor(model, card)
    phantom = make_phantom(seed)
    segmentation = predictor.predict(phantom.ct)
    dice = {label.name: dice_of(segmentation.array == label.value, phantom.labels.array == label.value)
            for label in predictor.labels}
    mean = float(np.mean(list(dice.values())))
    output.mkdir(parents=True, exist_ok=True)
    write_volume(phantom.ct, output / "ct.nii.gz")
    write_segmentation(segmentation, predictor.labels, output / "segmentation.seg.nrrd")
    write_segmentation(segmentation, predictor.labels, output / "segmentation.nii.gz")
    with atomic_write(output / "overlay.png", ".png") as picture:
        write_overlay(phantom.ct, segmentation, predictor.labels, picture, WINDOW,
                      f"Phantom abdomen {seed}: {model.variant.name}, mean Dice {mean:.3f}")
    rows = organ_table(segmentation, predictor.labels, phantom.ct)
    print(_table(rows, dice))
    print(f"\nMean Dice {mean:.3f}. Written to {one_line(str(output))}: ct.nii.gz, segmentation.seg.nrrd, "
          "segmentation.nii.gz, overlay.png")
    if as_json:
        organs = {row.name: {"dice": round(dice[row.name], 4), "volume_ml": round(row.volume_ml, 1),
                             "found": row.found} for row in rows}
        print(json.dumps({"mean_dice": round(mean, 4), "seconds": round(time.monotonic() - started, 2),
                          "peak_mb": peak_mb(), "organs": organs}))
    return mean


def dice_of(found: np.ndarray, true: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks; 1 when both are empty."""
    total = int(found.sum()) + int(true.sum())
    return 2 * int((found & true).sum()) / total if total else 1.0


def _table(rows: list[OrganRow], dice: dict[str, float]) -> str:
    lines = [f"{'organ':16}{'volume (ml)':>12}{'Dice':>8}  "]
    lines += [f"{row.title:16}{row.volume_ml:12.1f}{dice[row.name]:8.3f}  {'found' if row.found else 'not found'}"
              for row in rows]
    return "\n".join(lines)


def peak_mb() -> float | None:
    """Largest resident memory of this process so far, MB (10^6 bytes); None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
