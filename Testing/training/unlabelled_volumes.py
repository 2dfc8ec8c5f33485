"""Data sets of small CTs without labels, from which stage 1 draws its slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy import ndimage

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Training.data.manifest import Manifest, write_manifest
from Training.datasets.protocol import Source
from Training.prepare import prepare

DEPTH = 8


def tissue(seed: int) -> Volume:
    """Smooth tissue of -150 to 350 HU with another anatomy in every slice; air alone in the last."""
    noise = np.random.default_rng(seed).normal(size=(DEPTH, 40, 44))
    tissue = ndimage.gaussian_filter(noise, (0, 3, 3))
    array = (100 + 250 * tissue / np.abs(tissue).max()).astype(np.int16)
    array[-1] = -1000
    return Volume(array, (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def data_set(folder: Path, volumes: dict[str, Volume], **splits: str) -> Manifest:
    """A manifest without labels; held-out cases get one, since they must have it."""
    sources = []
    for name, content in volumes.items():
        write_volume(content, folder / f"{name}.nii.gz", compressed=False)
        write_volume(content.with_array((content.array > 0).astype(np.uint8)), folder / f"{name}_l.nii.gz")
        sources.append(Source(name, folder / f"{name}.nii.gz", folder / f"{name}_l.nii.gz"))
    split_of = {name: splits.get(name, "unlabelled") for name in volumes}
    manifest = prepare(sources, split_of, folder, "CT", get_label_set("liver"))
    write_manifest(manifest, folder / "manifest.json")
    return manifest
