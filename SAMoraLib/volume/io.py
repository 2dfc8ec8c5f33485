"""Reading volumes (NIfTI, NRRD, MHA, a DICOM series) and writing label volumes, with one clear sentence on refusal.

SimpleITK decodes DICOM's pixels and writes; it is imported inside the functions, because it takes a while.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import Label, LabelSet
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.numeric_locale import decimal_point
from SAMoraLib.system.streams import one_line
from SAMoraLib.system.text_path import text_path
from SAMoraLib.volume import Volume, dicom, meta_image, nifti, nrrd
from SAMoraLib.volume.dicom import read_series
from SAMoraLib.volume.nifti import Tell, read_nifti, read_voxels
from SAMoraLib.volume.right_angles import require_right_angles
from SAMoraLib.volume.text_header import NRRD, millimetres, read_header
from SAMoraLib.volume.voxel_data import read_stored, require_beside
from SAMoraLib.volume.voxel_size import require_voxel_size

READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
LABEL_FORMATS = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha")  # that a program offers for its results
NIFTI = (".nii", ".nii.gz")


def warn(message: str) -> None:
    """Tell of what was taken for granted where nobody else does."""
    warnings.warn(one_line(message), stacklevel=3)  # names may be no text, or steer a terminal


@decimal_point()
def read_volume(path: str | Path, tell: Tell = warn) -> Volume:
    """Read a scalar 3D volume, or a folder that holds one DICOM series. CT series come in HU.

    NIfTI, NRRD and MetaImage are read by Python alone. DICOM's pixels are decoded by GDCM, which a damaged file may
    still end, and the process with it: who reads files of unknown origin does so in a child
    (``SAMoraLib.system.child``), as ``samora predict`` does.

    Args:
        tell: is given what was taken for granted, a sentence each; a warning where it is left out.

    Raises:
        FileNotFoundError: nothing at ``path``.
        ValueError: not readable, not one series, colour, 2D, 4D, sheared, unevenly spaced, of no true voxel size, or
            not finite.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no volume '{path}'; give a file or a folder with one DICOM series.")
    if path.is_dir():
        volume = read_series(path)
    else:
        _require_known(path)
        _require_plain_file(path)
        volume = read_nifti(path, tell) if path.name.lower().endswith(NIFTI) else _read_text_headed(path, tell)
    _check(volume, path)
    return volume


@decimal_point()
def stored_bytes(path: Path) -> int:
    """What a volume's voxels take, by its header alone; 0 where that cannot be read, which ``read_volume`` refuses."""
    try:
        if path.is_dir():
            return dicom.stored_bytes(path)
        if path.name.lower().endswith(NIFTI):
            return nifti.stored_bytes(path)
        return int(_text_format(path).stored_as(read_header(path)).nbytes)
    except (ValueError, OSError, RuntimeError):
        return 0


def _require_plain_file(path: Path) -> None:
    """Refuse what may not be opened, for a pipe would be waited for for ever."""
    if not path.is_file():
        raise ValueError(f"'{path.name}' is no file (a pipe or a device); give a file, or a folder with one DICOM "
                         "series.")


def _require_known(path: Path) -> None:
    if not path.name.lower().endswith(READABLE):
        raise ValueError(f"'{path.name}' is not of a known format; give one of {', '.join(READABLE)}, or a folder with "
                         "one DICOM series.")


def _read_text_headed(path: Path, tell: Tell) -> Volume:
    """NRRD and MetaImage."""
    header = read_header(path)
    require_beside(header)
    factor = millimetres(header, tell)
    stored = _text_format(path).stored_as(header)
    steps, origin, sizes = _text_format(path).grid(stored, header)
    i, j, k = (np.linalg.norm(steps, axis=0) * factor).tolist()
    require_voxel_size((i, j, k), path.name)
    x, y, z = (origin * factor).tolist()
    array = read_stored(header, stored).reshape(sizes[::-1])
    return Volume(array, (i, j, k), (x, y, z), tuple((steps * factor / (i, j, k)).ravel().tolist()))


def _text_format(path: Path) -> Any:
    return nrrd if path.name.lower().endswith(NRRD) else meta_image


def read_stored_voxels(path: Path) -> np.ndarray:
    """As stored, of a file of a known format, whatever its grid.

    Raises:
        ValueError, OSError: it cannot be read.
    """
    _require_known(path)
    _require_plain_file(path)
    if path.name.lower().endswith(NIFTI):
        return read_voxels(path)
    header = read_header(path)
    return read_stored(header, _text_format(path).stored_as(header))


def _check(volume: Volume, path: Path) -> None:
    require_right_angles(np.reshape(volume.direction, (3, 3)), path.name)
    require_voxel_size(volume.spacing, path.name)
    if not np.isfinite(volume.origin).all():
        raise ValueError(f"'{path.name}' does not say where it lies in the patient: its origin is {volume.origin}; "
                         "export it again.")
    if not np.issubdtype(volume.array.dtype, np.number) or np.iscomplexobj(volume.array):
        raise ValueError(f"'{path.name}' holds values of type {volume.array.dtype}; give integers or real numbers.")
    if np.issubdtype(volume.array.dtype, np.floating) and not np.isfinite(volume.array.sum()):
        _refuse_not_finite(volume.array, path)


def _refuse_not_finite(array: np.ndarray, path: Path) -> None:
    """By voxel: a sum may overflow."""
    if count := int((~np.isfinite(array)).sum()):
        raise ValueError(f"'{path.name}' has {count} voxels that are NaN or infinite; replace them, e.g. by the "
                         "background value.")


@decimal_point()
def write_volume(volume: Volume, path: str | Path, metadata: dict[str, str] | None = None,
                 compressed: bool = True) -> None:
    """Write a volume; the file appears under its name only when it is complete.

    Args:
        metadata: key-value fields of a NRRD header.
        compressed: several times smaller, and several times slower.

    Raises:
        ValueError: an unknown format.
        OSError: the file could not be written completely.
    """
    import SimpleITK as sitk

    path = Path(path)
    ending = next((ending for ending in WRITABLE if path.name.lower().endswith(ending)), None)
    if ending is None:
        raise ValueError(f"'{path.name}' is not of a format that can be written; choose from {', '.join(WRITABLE)}.")
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.spacing)
    image.SetOrigin(volume.origin)
    image.SetDirection(volume.direction)
    for key, value in (metadata or {}).items():
        image.SetMetaData(key, value)

    with atomic_write(path, ending) as unfinished:
        try:
            with text_path(unfinished) as name:
                sitk.WriteImage(image, str(name), useCompression=compressed)
            _require_written(volume.array, unfinished)  # ITK does not notice a full disk in every format
        except (RuntimeError, ValueError, EOFError) as error:
            raise OSError(f"'{path}' could not be written; check that the disk has room and the folder may be written "
                          "to.") from error


def _require_written(array: np.ndarray, path: Path) -> None:
    """Refuse a file that does not give back what was written.

    Raises:
        ValueError, RuntimeError, EOFError: it does not.
    """
    found = read_stored_voxels(path)
    if not np.array_equal(found, array, equal_nan=np.issubdtype(array.dtype, np.inexact)):
        raise ValueError(f"'{path.name}' holds other voxels than were written.")


def write_segmentation(volume: Volume, labels: LabelSet, path: str | Path) -> None:
    """Write a label volume; ``.seg.nrrd`` also carries names, colours and terminology as 3D Slicer reads them."""
    metadata = slicer_fields(volume.array, labels) if str(path).lower().endswith(".seg.nrrd") else None
    write_volume(volume, path, metadata)


def slicer_fields(array: np.ndarray, labels: LabelSet) -> dict[str, str]:
    """The header fields of a Slicer segmentation: one shared layer, stable segment ids, SNOMED CT codes."""
    depth, height, width = array.shape
    fields = {
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for number, label in enumerate(labels):
        segment = {
            "ID": label.name,
            "Name": label.title,
            "NameAutoGenerated": "0",
            "Color": " ".join(f"{channel / 255:.6g}" for channel in label.rgb),
            "ColorAutoGenerated": "0",
            "LabelValue": str(label.value),
            "Layer": "0",
            "Extent": f"0 {width - 1} 0 {height - 1} 0 {depth - 1}",
            "Tags": f"TerminologyEntry:{terminology(label)}|Segmentation.Status:completed|",
        }
        fields |= {f"Segment{number}_{key}": value for key, value in segment.items()}
    return fields


def terminology(label: Label) -> str:
    """Slicer's serialised terminology entry: category, type and laterality of the General Anatomy list."""
    organ = label.organ
    modifier = f"SCT^{organ.modifier[0]}^{organ.modifier[1]}" if organ.modifier else "^^"
    category = f"SCT^{organ.category[0]}^{organ.category[1]}"
    region = "Anatomic codes - DICOM master list~^^~^^"
    return (f"Segmentation category and type - 3D Slicer General Anatomy list~{category}~"
            f"SCT^{organ.code}^{organ.meaning}~{modifier}~{region}")
