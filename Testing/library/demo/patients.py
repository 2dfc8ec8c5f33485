"""Patients of the phantom as they were when numbers were measured on them, in ``patients.npz``: a seed stays a patient.

The models in the package and the tables in docs/results.md were made with patients known by their seeds. Where that is
meant to change, ``python -m Testing.library.demo.patients`` writes the file anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from SAMoraLib.demo.organs import paint_organs
from SAMoraLib.demo.painting import contrast_medium, paint_ct, paint_random
from SAMoraLib.demo.shapes import Canvas
from SAMoraLib.demo.tissues import STRUCTURES
from SAMoraLib.demo.torso import Cavity, paint_torso

FILE = Path(__file__).with_name("patients.npz")
WITH_CYSTS, WITHOUT_GALLBLADDER = 49, 4  # of both kidneys and the liver; unless all organs are asked for
PATIENTS = (WITH_CYSTS, WITHOUT_GALLBLADDER)
GRID = (5.0, 5.0, 6.0)  # mm
DIFFERENT = 1  # voxel of 184,320 that rounding may give to another structure; none where it was tried
CT_SEEDS = (1, 3, 53)  # without contrast medium, and with the least and the most of it
RANDOM_SEEDS = (0, 1, 2, 5, 9)  # no modality, T2, T2, CT, T1
SPACING = (1.1, 1.25, 2.0)  # mm, of the block of tissues


@cache
def kept(name: str) -> np.ndarray:
    """One of the arrays in the file."""
    with np.load(FILE) as arrays:
        return arrays[name]


def torso(seed: int, grid: tuple[float, float, float] = GRID) -> tuple[Canvas, Cavity]:
    """A patient without organs."""
    anatomy = np.random.default_rng(np.random.SeedSequence(seed).spawn(3)[0])
    canvas = Canvas(anatomy, grid)
    return canvas, paint_torso(canvas)


def assert_same_patient(structures: np.ndarray, name: str) -> None:
    """The same structure in every voxel, but for rounding."""
    expected = kept(name)
    assert structures.shape == expected.shape
    others = structures != expected
    named = sorted({STRUCTURES[number] for number in expected[others]})
    assert others.sum() <= DIFFERENT, f"{others.sum()} voxels of {name} are another structure: {', '.join(named)}"


def block_of_tissues() -> np.ndarray:
    """(4, 10, 12) with every structure in a few voxels."""
    return (np.arange(480) // 3 % len(STRUCTURES)).reshape(4, 10, 12).astype(np.uint8)


def main() -> None:
    arrays: dict[str, np.ndarray] = {}
    for seed in PATIENTS:
        canvas, cavity = torso(seed)
        arrays[f"torso_{seed}"] = canvas.structures.copy()
        paint_organs(canvas, cavity, all_organs=False)
        arrays[f"organs_{seed}"] = canvas.structures
    block = block_of_tissues()
    for seed in CT_SEEDS:
        arrays[f"ct_{seed}"] = paint_ct(block, SPACING, np.random.default_rng(seed))
        arrays[f"contrast_{seed}"] = contrast_medium(block, SPACING, np.random.default_rng(seed))
    for seed in RANDOM_SEEDS:
        arrays[f"random_{seed}"] = paint_random(block, np.random.default_rng(seed))
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
