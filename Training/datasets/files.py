"""Sources that are no files yet become files, once: whole ones, so that an interrupted conversion goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Training.datasets.protocol import Read, Source


def image_and_label(source: Source, folder: Path) -> tuple[Path, Path | None]:
    """The files of a case: its own, or copies in ``folder`` of what had to be converted; those there are kept.

    Raises:
        ValueError: a damaged source; nothing is written of it.
        OSError: the disk is full.
    """
    image = _file(source.image, folder / f"{source.id}_image.nii.gz")
    label = None if source.label is None else _file(source.label, folder / f"{source.id}_label.nii.gz")
    return image, label


def _file(content: Path | Read, path: Path) -> Path:
    if isinstance(content, Path):
        return content
    if not path.is_file():
        write_volume(compact(content()), path)
    return path


def compact(volume: Volume) -> Volume:
    """Whole numbers as the smallest of uint8 and int16 that holds them, other values as float32."""
    array = volume.array
    if np.array_equal(array, np.round(array)):
        for kind in (np.uint8, np.int16):
            if np.iinfo(kind).min <= array.min() and array.max() <= np.iinfo(kind).max:
                return volume.with_array(array.astype(kind))
    return volume.with_array(array.astype(np.float32))
