"""Small volumes to write in the published layouts, and the command that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Training.data.manifest import Manifest, read_manifest
from Training.prepare import main

LPS = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
HEAD_FIRST = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def image(seed: int, direction: tuple[float, ...] = LPS, shape: tuple[int, int, int] = (4, 10, 12)) -> Volume:
    """Noise, another one for each seed."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(voxels, (0.8, 0.8, 3.0), (1.0, 2.0, 3.0), direction)


def label(numbers: Sequence[int], like: Volume) -> Volume:
    """A row of each number in slice 1, on the grid of ``like``."""
    array = np.zeros(like.array.shape, np.uint8)
    for row, number in enumerate(numbers):
        array[1, row % array.shape[1], 2 * (row // array.shape[1])] = number
    return like.with_array(array)


def write_pair(image_path: Path, label_path: Path, numbers: Sequence[int], seed: int,
               direction: tuple[float, ...] = LPS) -> None:
    """An image and its label."""
    volume = image(seed, direction)
    for path, content in ((image_path, volume), (label_path, label(numbers, volume))):
        write(path, content)


def write(path: Path, volume: Volume) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(volume, path, compressed=False)


def prepared(data_set: str, folder: Path, *more: str) -> Manifest:
    """The manifest that the command writes."""
    output = folder.parent / "prepared"
    main([data_set, "--input", str(folder), "--output", str(output), *more])
    return read_manifest(output / "manifest.json")


def refused(data_set: str, folder: Path, *more: str) -> str:
    """The one sentence with which the command refuses; no manifest is left behind."""
    output = folder.parent / "refused"
    with pytest.raises(SystemExit) as error:
        main([data_set, "--input", str(folder), "--output", str(output), *more])
    message = str(error.value.code)
    assert message.endswith(".") and "\n" not in message
    assert not (output / "manifest.json").exists()
    assert not list(output.glob("volumes/.*"))  # no half-written volume either
    return message


def sizes(manifest: Manifest) -> dict[str, int]:
    """How many cases each split has."""
    return {split: len([case for case in manifest.cases if case.split == split])
            for split in sorted({case.split for case in manifest.cases})}
