"""Synapse as TransUNet distributes it: training slices as .npz, test volumes as .h5, eight organs, no geometry.

The arrays are (D, H, W) in the order of the raw file, windowed to [-125, 275] HU and scaled to about [0, 1].
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from SAMoraLib.volume import Volume
from Training.datasets.arrays import read_array
from Training.datasets.protocol import Download, Source, collect, inner
from Training.datasets.splits import published_split

LAYOUT = "train_npz/case0005_slice000.npz and test_vol_h5/case0001.npy.h5"
NUMBERS = dict(enumerate(("spleen", "right_kidney", "left_kidney", "gallbladder", "liver", "stomach", "aorta",
                          "pancreas"), start=1))
LISTED_SLICES = 2211  # lists_Synapse/train.txt; the papers say 2,212
WINDOW = (-125.0, 275.0)
# Neither voxel size nor orientation is distributed: 1 mm, and the raw files' left, anterior, superior.
SPACING, LAS = (1.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)


def find(folder: Path) -> Download:
    """18 training cases as slices, 12 test cases as volumes."""
    root = inner(folder, "data/Synapse", "Synapse")
    slices = _slices(root / "train_npz")
    download = collect(root, (_case(root, case, split, slices) for case, split in published_split("synapse").items()))
    count = sum(len(paths) for paths in slices.values())
    if count < LISTED_SLICES and download.cases:
        short = f"{LISTED_SLICES - count} of the {LISTED_SLICES} slices in train_npz"
        return replace(download, missing=(*download.missing, short))
    return download


def _slices(folder: Path) -> dict[str, dict[int, Path]]:
    found: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in folder.glob("case*_slice*.npz"):
        if match := re.fullmatch(r"(case[0-9]{4})_slice([0-9]{1,4})", path.stem):
            found[match[1]][int(match[2])] = path
    return found


def _case(root: Path, case: str, split: str, slices: dict[str, dict[int, Path]]) -> tuple[Source, list[Path]]:
    if split == "test":
        path = root / "test_vol_h5" / f"{case}.npy.h5"
        return Source(case, partial(_volume, [path], "image"), partial(_volume, [path], "label")), [path]
    numbers = slices.get(case, {0: Path()})
    paths = [root / "train_npz" / f"{case}_slice{number:03d}.npz" for number in range(max(numbers) + 1)]
    return Source(case, partial(_volume, paths, "image"), partial(_volume, paths, "label")), paths


def _volume(paths: list[Path], name: str) -> Volume:
    arrays = [read_array(path, name) for path in paths]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"'{paths[0].name}' and the other slices of its case have several sizes; download them again.")
    array = np.stack(arrays) if arrays[0].ndim == 2 else arrays[0]
    if name == "image":
        low, high = WINDOW
        array = array.astype(np.float32) * (high - low) + low  # HU again, so that one window serves all data sets
    return Volume(np.ascontiguousarray(array), SPACING, (0.0, 0.0, 0.0), LAS)
