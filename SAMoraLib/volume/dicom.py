"""Reading a folder that holds one DICOM series; GDCM sorts the slices and applies the rescale to HU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.system.numeric_locale import decimal_point
from SAMoraLib.system.text_path import text_path
from SAMoraLib.volume.right_angles import ORTHOGONAL, are_perpendicular, sheared

POSITION, ORIENTATION = "0020|0032", "0020|0037"
ROUNDED_MM = 0.06  # positions are text, often with one decimal
MARK, MARK_AT = b"DICM", 128  # of a DICOM file, behind its preamble
UNEVEN = 0.1  # of the slice distance: how far a slice may lie off the even grid


def read_series(folder: Path) -> Any:
    """The one series in ``folder`` as a SimpleITK image.

    Raises:
        ValueError: none or several series, not readable, slices missing or uneven, or tilted (sheared).
    """
    import SimpleITK as sitk

    with text_path(folder) as name:
        series = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(name))
        if len(series) != 1:
            found = f"holds {len(series)} DICOM series" if series else "holds no DICOM series"
            raise ValueError(f"The folder '{folder.name}' {found}; give a folder with exactly one.")
        return read_slices(folder.name, sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(name), series[0]))


def is_dicom(path: Path) -> bool:
    """Whether there is a file with DICOM's mark."""
    if not path.is_file():  # a pipe would wait for ever
        return False
    try:
        with path.open("rb") as file:
            file.seek(MARK_AT)
            return file.read(len(MARK)) == MARK
    except OSError:
        return False


@decimal_point()
def read_slices(folder: str, names: Sequence[str]) -> Any:
    """Files of one slice each, in the order of their positions, as a SimpleITK image; ``folder`` is for messages.

    Raises:
        ValueError: not readable, slices missing or uneven, or tilted (sheared).
    """
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    try:
        if len(names) > 1:
            _check_stack(folder, *_positions(folder, names))
        return reader.Execute()
    except RuntimeError as error:
        raise ValueError(_damaged(folder)) from error


@decimal_point()
def order_of_slices(folder: str, names: Sequence[str]) -> list[int]:
    """Indexes that sort files of one slice each along the normal of the first, as GDCM sorts a series.

    Raises:
        ValueError: not readable.
    """
    try:
        positions, orientations = _positions(folder, names)
    except RuntimeError as error:
        raise ValueError(_damaged(folder)) from error
    order: list[int] = np.argsort(positions @ np.cross(*orientations[0])).tolist()
    return order


def _damaged(folder: str) -> str:
    return (f"The DICOM series in '{folder}' cannot be read: files are damaged or incomplete, or differ in size; "
            "export the series again.")


def _positions(folder: str, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of every file the image position (N, 3) and its orientation (N, 2, 3), row and column direction; LPS mm."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    positions, orientations = [], []
    for name in names:
        reader.SetFileName(name)
        reader.ReadImageInformation()
        if not (reader.HasMetaDataKey(POSITION) and reader.HasMetaDataKey(ORIENTATION)):
            raise ValueError(f"'{Path(name).name}' in '{folder}' does not say where its slice lies; export the "
                             "original series again.")
        positions.append(_numbers(reader.GetMetaData(POSITION), 3))
        orientations.append(_numbers(reader.GetMetaData(ORIENTATION), 6))
    return np.stack(positions), np.reshape(orientations, (-1, 2, 3))


def _numbers(text: str, count: int) -> np.ndarray:
    """``count`` decimal strings; NaN where there are none, which no check lets pass."""
    try:
        values = np.array([float(number) for number in text.split("\\")])
    except ValueError:
        values = np.empty(0)
    return values if len(values) == count else np.full(count, np.nan)


def _check_stack(folder: str, positions: np.ndarray, orientations: np.ndarray) -> None:
    """Refuse what ITK would silently straighten: slices turned, missing, doubled, uneven or tilted."""
    axes = orientations[0].T
    if not (are_perpendicular(axes) and np.allclose(orientations, orientations[0], atol=ORTHOGONAL)):
        raise ValueError(f"The slices in '{folder}' are not parallel, or their orientation is damaged; give a folder "
                         "with one stack of slices.")
    heights = (positions - positions[0]) @ np.cross(axes[:, 0], axes[:, 1])
    grid = np.linspace(0, heights[-1], len(heights))
    if not np.abs(heights - grid).max() <= ROUNDED_MM + UNEVEN * grid[1] or not grid[1] > 0:
        distances = np.diff(heights)
        raise ValueError(f"The slices in '{folder}' are {distances.min():.2f} to {distances.max():.2f} mm apart, so "
                         "some are missing or doubled; export the whole series again, or resample it evenly.")
    shift = np.abs((positions - positions[0]) @ axes).max()
    if not shift <= ROUNDED_MM + ORTHOGONAL * grid[-1]:
        raise ValueError(sheared(folder))
