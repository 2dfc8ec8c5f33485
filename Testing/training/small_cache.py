"""Slices whose brightness tells their classes, without a volume that they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from Training.data.slices import SliceCache

CLASSES = 16  # brightness n / 16 is class n; exact in half precision, in which slices are kept


def cache_of(folder: Path, **labels: np.ndarray) -> SliceCache:
    """A case for each array (N, h, w) of classes, shown as brightness."""
    for case, classes in labels.items():
        (folder / case).mkdir()
        np.save(folder / case / "images.npy", (classes / CLASSES).astype(np.float16))
        np.save(folder / case / "labels.npy", classes.astype(np.uint8))
        np.save(folder / case / "offsets.npy", np.array([0]))
    return SliceCache({case: folder / case for case in labels})


def random_cases(folder: Path, **shapes: tuple[int, int, int]) -> SliceCache:
    """Cases (N, h, w) of random classes."""
    rng = np.random.default_rng(0)
    return cache_of(folder, **{case: rng.integers(0, CLASSES, shape) for case, shape in shapes.items()})
