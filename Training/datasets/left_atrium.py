"""LA, the atrial segmentation challenge of 2018: 100 labelled gadolinium-enhanced MRs; also as UA-MT's .h5 files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from SAMoraLib.volume import Volume
from Training.datasets.arrays import read_array
from Training.datasets.protocol import Download, Source, collect, inner
from Training.datasets.splits import published_split

LAYOUT = "Training Set/06SR5RBREL16DQ6M8LWS/lgemri.nrrd and .../laendo.nrrd"
H5_LAYOUT = "2018LA_Seg_Training Set/06SR5RBREL16DQ6M8LWS/mri_norm2.h5"
NUMBERS = {255: "left_atrium"}
H5_NUMBERS = {1: "left_atrium"}
H5_SPACING = (0.625, 0.625, 0.625)  # mm; UA-MT's paper, the file does not say


def find(folder: Path) -> Download:
    """The challenge's training set."""
    root = inner(folder, "Training Set", "2018LA_Seg_Training Set")
    return collect(root, (_case(root / case) for case in published_split("la")))


def _case(folder: Path) -> tuple[Source, list[Path]]:
    image, label = folder / "lgemri.nrrd", folder / "laendo.nrrd"
    return Source(folder.name, image, label), [image, label]


def find_h5(folder: Path) -> Download:
    """The same, cropped around the atrium and z-scored by UA-MT."""
    root = inner(folder, "data/2018LA_Seg_Training Set", "2018LA_Seg_Training Set")
    return collect(root, (_h5_case(root / case / "mri_norm2.h5") for case in published_split("la")))


def _h5_case(path: Path) -> tuple[Source, list[Path]]:
    return Source(path.parent.name, partial(_volume, path, "image"), partial(_volume, path, "label")), [path]


def _volume(path: Path, name: str) -> Volume:
    """(i, j, k) as pynrrd reads them -> a volume, taken to be left, posterior, superior."""
    array = np.ascontiguousarray(read_array(path, name, (3,)).transpose(2, 1, 0))
    return Volume(array, H5_SPACING, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
