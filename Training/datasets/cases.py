"""Reading and checking the volumes of a case: what goes into the manifest, and what is refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SAMoraLib.system.files import file_sha256
from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume.io import read_volume
from Training.data.manifest import Case, relabel

GRID_TOLERANCE_MM = 0.05  # origins that went through float32 headers differ by less


@dataclass(frozen=True)
class Checked:
    """A case that was read.

    Attributes:
        case: its record.
        numbers: that occur in the label file, without background.
        labelled: the slices in which the label map finds an organ, counted from the feet in canonical order.
        from_feet: where each slice of the file (its third axis) is in that order; none if that axis is another one.
    """

    case: Case
    numbers: frozenset[int]
    labelled: tuple[int, ...]
    from_feet: tuple[int, ...]


def read_case(
    name: str, files: tuple[Path, Path | None], split: str, root: Path, label_map: dict[int, int],
    known: Collection[int] | None = None,
) -> Checked:
    """Read and check one case; the label of one that is to be unlabelled is not looked at.

    Args:
        known: the numbers that a label file may hold; None for any.

    Raises:
        ValueError: with the case, the file and the cause.
    """
    image_path, label_path = files if split != "unlabelled" else (files[0], None)
    try:
        image = read_volume(image_path)
        _check_image(image, image_path)
        label = _read_label(label_path, image, known) if label_path else None
    except ValueError as error:
        raise ValueError(f"Case '{name}': {error}") from error
    shape = (int(image.array.shape[0]), int(image.array.shape[1]), int(image.array.shape[2]))
    case = Case(
        id=name, split=split,
        image=_relative(image_path, root), label=_relative(label_path, root) if label_path else None,
        image_sha256=file_sha256(image_path), label_sha256=file_sha256(label_path) if label_path else None,
        voxels_sha256=voxels_sha256(image), shape=shape, spacing=image.spacing,
    )
    if label is None:
        return Checked(case, frozenset(), (), _from_feet(image))
    return Checked(case, _numbers(label), _labelled_slices(label, label_map), _from_feet(image))


def _check_image(image: Volume, path: Path) -> None:
    if image.array.min() == image.array.max():
        raise ValueError(f"'{path.name}' is empty, every voxel is {image.array.flat[0]:g}; copy or export it again.")


def _read_label(path: Path, image: Volume, known: Collection[int] | None) -> Volume:
    label = read_volume(path)
    check_grid(path.name, label, image)
    values = np.unique(label.array)
    if np.any(values != np.round(values)) or values[0] < 0:
        raise ValueError(f"the label '{path.name}' holds values such as {values[0]:g} and {values[-1]:g} that are no "
                         f"label numbers; give a volume of whole numbers from 0.")
    if known is not None and (unknown := sorted(_numbers(label) - set(known))):
        raise ValueError(f"the label '{path.name}' holds the numbers {unknown}, but those of this data set are "
                         f"{sorted(known)}; download it again, or give other labels as a folder with --label-map.")
    return label


def check_grid(name: str, label: Volume, image: Volume) -> None:
    """Refuse a label volume on another grid than its image.

    Raises:
        ValueError: with what differs.
    """
    if image.array.shape != label.array.shape:
        raise ValueError(f"the label '{name}' has {label.array.shape} voxels but the image {image.array.shape}; "
                         f"resample the label to the image's grid.")
    for quantity, tolerance in (("spacing", 1e-3), ("origin", GRID_TOLERANCE_MM), ("direction", 1e-3)):
        ours, theirs = getattr(image, quantity), getattr(label, quantity)
        if not np.allclose(ours, theirs, rtol=0, atol=tolerance):
            raise ValueError(f"the {quantity} of the label '{name}' is {theirs} but that of the image {ours}; "
                             f"resample the label to the image's grid.")


def _numbers(label: Volume) -> frozenset[int]:
    return frozenset(int(value) for value in np.unique(label.array)) - {0}


def _labelled_slices(label: Volume, label_map: dict[int, int]) -> tuple[int, ...]:
    canonical, _ = to_canonical(label)
    organs = relabel(canonical.array, label_map)
    return tuple(np.flatnonzero(organs.any(axis=(1, 2))).tolist())


def _from_feet(image: Volume) -> tuple[int, ...]:
    _, reorientation = to_canonical(image)
    if reorientation.axes[0] != 0:
        return ()
    numbers = range(len(image.array))
    return tuple(reversed(numbers) if 0 in reorientation.flipped else numbers)


def voxels_sha256(volume: Volume) -> str:
    """Hash of the voxels in canonical order, the same for a copy in another type, format or orientation."""
    canonical, _ = to_canonical(volume)
    digest = hashlib.sha256(repr(canonical.array.shape).encode())
    digest.update(np.ascontiguousarray(canonical.array, dtype=np.float32).data)
    return digest.hexdigest()


def _relative(path: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError as error:  # Windows: another drive
        raise ValueError(f"'{path}' is on another drive than '{root}'; put the manifest on the drive of the data.") \
            from error
