"""Reading one DICOM series, a file a slice or many frames in a file: put in order by position, or refused.

Headers are checked with pydicom; GDCM, in SimpleITK, decodes the pixels and applies the rescale to HU.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.system.text_path import text_path
from SAMoraLib.volume.dicom_frames import Damaged, Frame, Header, read_header
from SAMoraLib.volume.dicom_header import INDEX, looks_like_dicom
from SAMoraLib.volume.dicom_pixels import scale_frames
from SAMoraLib.volume.right_angles import ORTHOGONAL, are_perpendicular, sheared
from SAMoraLib.volume.room import require_room
from SAMoraLib.volume.volume import Volume

ROUNDED_MM = 0.06  # positions are text, often with one decimal
UNEVEN = 0.1  # of the slice distance: how far a slice may lie off the even grid
SAME = 1e-3  # relative: pixel sizes of one series
DEEP = 3  # levels below a folder at which its one series may lie
CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # what no text holds
GDCM_SCALES = ("Enhanced CT", "Enhanced MR", "Enhanced PET", "X-Ray 3D")  # what it finds in functional groups
NAMED = 3  # files that a message names


def read_series(folder: Path) -> Volume:
    """The one series in ``folder``, or in the one folder below it that holds any.

    Raises:
        ValueError: none or several series; files that cannot be read; slices missing, uneven, tilted (sheared), of
            different size, or without a place or size; several phases; grey values that are inverted or in a table.
    """
    folder = _folder_of_series(folder)
    return read_images(folder.name, series_files(folder))


def series_files(folder: Path) -> list[Header]:
    """The headers of the one series in ``folder``.

    Raises:
        ValueError: none or several series, or files that cannot be read.
    """
    headers, damaged = _headers(_files(folder))
    _require_whole(folder.name, damaged, len(headers))
    series = len({header.series for header in headers})
    if series != 1:
        found = f"holds {series} DICOM series" if series else "holds no DICOM series"
        raise ValueError(f"The folder '{folder.name}' {found}; give a folder with exactly one.")
    return headers


def headers_of(name: str, files: Sequence[Path]) -> list[Header]:
    """The headers of files that are all images.

    Raises:
        ValueError: some cannot be read, or are none.
    """
    headers, damaged = _headers(files)
    known = {header.file for header in headers}
    _require_whole(name, damaged or [file for file in files if file not in known], len(headers))
    return headers


def _require_whole(name: str, damaged: Sequence[Path], whole: int) -> None:
    if not damaged:
        return
    count, some = len(damaged), ", ".join(f"'{path.name}'" for path in damaged[:NAMED])
    others = ", ..." if count > NAMED else ""
    raise ValueError(f"The DICOM series in '{name}' is damaged or incomplete: {count} of {count + whole} files cannot "
                     f"be read ({some}{others}); copy or export it again.")


def read_images(name: str, headers: Sequence[Header]) -> Volume:
    """Files of one series as a volume, in the order of their positions.

    Args:
        name: of the series, for messages.

    Raises:
        ValueError: as ``read_series``, but for the number of series.
    """
    _check_values(name, headers)
    frames = in_order(name, [frame for header in headers for frame in header.frames])
    step = _check_stack(name, frames)
    across, down = frames[0].orientation
    axes = np.stack([across, down, np.cross(across, down)], axis=1)
    axes /= np.linalg.norm(axes, axis=0)
    x, y, z = frames[0].position.tolist()
    array = _voxels(name, frames, {header.file: header for header in headers})
    direction = tuple(axes.ravel().tolist())
    return Volume(array, (*frames[0].spacing, step), (x, y, z), direction, headers[0].modality)


def in_order(name: str, frames: Sequence[Frame]) -> list[Frame]:
    """Frames along the normal of the first.

    Raises:
        ValueError: a frame does not say where it lies.
    """
    for frame in frames:
        if not np.isfinite(frame.position).all():
            raise ValueError(f"'{frame.file.name}' in '{name}' does not say where its slice lies; export the original "
                             "series again.")
    normal = np.cross(*frames[0].orientation)
    if not np.isfinite(normal).all():
        raise ValueError(f"'{frames[0].file.name}' in '{name}' does not say where its slice lies, or its orientation "
                         "is damaged; export the original series again.")
    heights = np.stack([frame.position for frame in frames]) @ normal
    return [frames[number] for number in np.argsort(heights, kind="stable")]


def stored_bytes(folder: Path) -> int:
    """What the voxels of a folder's series take."""
    headers = series_files(_folder_of_series(folder))
    scaled = any(slope % 1 or offset % 1 for header in headers for slope, offset in [header.frames[0].rescale])
    return sum(header.shape[0] * header.shape[1] * header.shape[2] * len(header.frames)
               * (8 if scaled else max(2, header.bits // 8)) for header in headers)


def _folder_of_series(folder: Path) -> Path:
    if holds_dicom(folder):
        return folder
    holding = [path for path in _folders_below(folder, DEEP) if holds_dicom(path)]
    if len(holding) > 1:
        raise ValueError(f"The folder '{folder.name}' holds {len(holding)} folders with DICOM files; give one of them, "
                         f"e.g. '{holding[0].relative_to(folder)}'.")
    return holding[0] if holding else folder


def holds_dicom(folder: Path) -> bool:
    """Whether a DICOM file lies in the folder itself, beside the index of a disk."""
    return any(path.name.upper() != INDEX and looks_like_dicom(path) for path in _files(folder))


def _folders_below(folder: Path, levels: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if levels else ():
        if path.is_dir() and not path.is_symlink() and os.access(path, os.R_OK | os.X_OK):
            yield path
            yield from _folders_below(path, levels - 1)


def _files(folder: Path) -> list[Path]:
    """Plain files, for nothing else may be opened: a FIFO would wait for ever; and links to files that are lost."""
    return sorted(path for path in folder.iterdir()
                  if not path.name.startswith(".") and (path.is_file() or not path.exists()))


def _headers(files: Sequence[Path]) -> tuple[list[Header], list[Path]]:
    """Images among files, and those that are damaged ones."""
    headers, damaged, others = [], [], []
    for path in files:
        try:
            if not looks_like_dicom(path):
                others.append(path)
            elif header := read_header(path):
                headers.append(header)
        except (Damaged, OSError):
            damaged.append(path)
    endings = {header.file.suffix.lower() for header in headers}
    return headers, sorted([*damaged, *(path for path in others if path.suffix.lower() in endings and _is_ruin(path))])


def _is_ruin(path: Path) -> bool:
    """Whether a file that is called as the slices are has lost what made it one: it is a link to nothing, empty, or no
    text either.
    """
    if not path.exists():
        return True
    with path.open("rb") as file:
        start = file.read(512)
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return True
    return not start or CONTROL.search(text) is not None


def _check_values(name: str, headers: Sequence[Header]) -> None:
    """Refuse pixels that do not mean grey values, or not the same ones in every slice."""
    first = headers[0]
    if max(header.shape[2] for header in headers) > 1:
        raise ValueError(f"'{name}' is a colour image with {first.shape[2]} components; give a volume with one grey "
                         "value per voxel.")
    if len({header.shape for header in headers}) > 1:
        raise ValueError(f"The slices in '{name}' differ in size ({first.shape[1]} x {first.shape[0]} pixels and "
                         "others); give a folder with one stack of slices.")
    photometric = {header.photometric for header in headers} - {"MONOCHROME2", ""}
    if photometric or any(header.by_table for header in headers):
        how = " and ".join(sorted(photometric)) or "a modality table"
        raise ValueError(f"The grey values in '{name}' are coded by {how}, which is not read; export the series with "
                         "plain values (MONOCHROME2).")
    frames = [frame for header in headers for frame in header.frames]
    rescales = np.array([frame.rescale for frame in frames])
    for missing in np.isnan(rescales).sum(axis=0).tolist():
        if 0 < missing < len(frames):
            raise ValueError(f"{missing} of {len(frames)} slices in '{name}' do not say how their pixels become grey "
                             "values (RescaleSlope, RescaleIntercept); export the original series again.")
    if np.isinf(rescales).any() or not rescales[:, 0].all():
        raise ValueError(f"The slices in '{name}' are scaled by 0 or by infinity; export the original series again.")
    if len({header.modality for header in headers}) > 1:
        raise ValueError(f"The files in '{name}' are of several modalities; give a folder with one series.")


def _check_stack(name: str, frames: Sequence[Frame]) -> float:
    """Refuse slices that are turned, missing, doubled, uneven, tilted or of unknown size; mm from slice to slice."""
    axes = frames[0].orientation.T
    orientations = np.stack([frame.orientation for frame in frames])
    lengths = np.linalg.norm(axes, axis=0)
    straight = are_perpendicular(axes) and np.allclose(lengths, 1, atol=1e-2)
    if not (straight and np.allclose(orientations, orientations[0], atol=ORTHOGONAL)):
        raise ValueError(f"The slices in '{name}' are not parallel, or their orientation is damaged; give a folder "
                         "with one stack of slices.")
    spacings = np.array([frame.spacing for frame in frames])
    if not (np.isfinite(spacings).all() and (spacings > 0).all()):
        raise ValueError(f"The slices in '{name}' do not say how large a pixel is (PixelSpacing); export the original "
                         "series again.")
    if not np.allclose(spacings, spacings[0], rtol=SAME):
        low, high = spacings.min(), spacings.max()
        raise ValueError(f"The pixels of the slices in '{name}' differ in size, {low:g} to {high:g} mm; give a folder "
                         "with one stack of slices.")
    if len(phases := {frame.phase for frame in frames}) > 1:
        raise ValueError(f"'{name}' holds {len(phases)} phases, time points or echoes; export one of them alone.")
    if len(frames) == 1:
        return _thickness(name, frames[0])
    return _check_places(name, np.stack([frame.position for frame in frames]), axes / lengths)


def _check_places(name: str, positions: np.ndarray, axes: np.ndarray) -> float:
    """Refuse positions (N, 3) off an even straight grid; mm from one to the next."""
    heights = (positions - positions[0]) @ np.cross(axes[:, 0], axes[:, 1])
    grid = np.linspace(0, heights[-1], len(heights))
    if not np.abs(heights - grid).max() <= ROUNDED_MM + UNEVEN * grid[1] or not grid[1] > 0:
        distances = np.diff(heights)
        raise ValueError(f"The slices in '{name}' are {distances.min():.2f} to {distances.max():.2f} mm apart, so "
                         "some are missing or doubled; export the whole series again, or resample it evenly.")
    shift = np.abs((positions - positions[0]) @ axes).max()
    if not shift <= ROUNDED_MM + ORTHOGONAL * grid[-1]:
        raise ValueError(sheared(name))
    return float(grid[1])


def _thickness(name: str, frame: Frame) -> float:
    if not (np.isfinite(frame.thickness) and frame.thickness > 0):
        raise ValueError(f"The one slice in '{name}' does not say how thick it is (SliceThickness); give the whole "
                         "series.")
    return frame.thickness


def _voxels(name: str, frames: Sequence[Frame], headers: Mapping[Path, Header]) -> np.ndarray:
    """(D, H, W), of a type that holds the values of every slice."""
    height, width, _ = headers[frames[0].file].shape
    require_room(name, len(frames) * height * width * max(2, headers[frames[0].file].bits // 8))
    array = np.empty((len(frames), height, width), np.int8)
    try:
        for number, plane in enumerate(_planes(frames, headers)):
            kind = np.result_type(array.dtype, plane.dtype) if number else plane.dtype
            array = array if kind == array.dtype else array.astype(kind)
            array[number] = plane
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"The DICOM series in '{name}' cannot be read: files are damaged or incomplete, or differ in "
                         "size, or are compressed in a way that is not known; export the series again.") from error
    return array


def _planes(frames: Sequence[Frame], headers: Mapping[Path, Header]) -> Iterator[np.ndarray]:
    """(H, W) grey values of each frame; each counts until the next is asked for."""
    import SimpleITK as sitk

    several: dict[Path, np.ndarray] = {}
    for frame in frames:
        header = headers[frame.file]
        if len(header.frames) == 1:
            image = _image(frame.file)
            yield sitk.GetArrayViewFromImage(image).reshape(header.shape[:2])
            continue
        if frame.file not in several:
            gdcm = _scaled_by_gdcm(header)
            several[frame.file] = sitk.GetArrayFromImage(_image(frame.file)) if gdcm else scale_frames(header)
        yield several[frame.file][frame.number]


def _image(file: Path) -> Any:
    """What GDCM makes of a file."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    with text_path(file) as name:
        reader.SetFileName(str(name))
        return reader.Execute()


def _scaled_by_gdcm(header: Header) -> bool:
    """Whether one rescale holds for all frames, and GDCM looks for it where it stands."""
    rescales = np.array([frame.rescale for frame in header.frames])
    if np.isnan(rescales).all():
        return True
    return bool((rescales == rescales[0]).all()) and any(name in header.kind for name in GDCM_SCALES)
