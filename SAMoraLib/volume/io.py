"""Reading volumes (NIfTI, NRRD, MHA, a DICOM series) and writing label volumes, with one clear sentence on refusal.

SimpleITK does the reading and writing; it is imported inside the functions, because it takes a while.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import Label, LabelSet
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.numeric_locale import decimal_point
from SAMoraLib.system.text_path import text_path
from SAMoraLib.volume import Volume
from SAMoraLib.volume.dicom import read_series
from SAMoraLib.volume.nifti import check_nifti
from SAMoraLib.volume.right_angles import require_right_angles, sheared

READABLE = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
LABEL_FORMATS = (".seg.nrrd", ".nii.gz", ".nrrd", ".mha")  # that a program offers for its results
NIFTI = (".nii", ".nii.gz")


@decimal_point()
def read_volume(path: str | Path) -> Volume:
    """Read a scalar 3D volume, or a folder that holds one DICOM series.

    A 2D image is a volume of one slice. CT series come in HU.

    Raises:
        FileNotFoundError: nothing at ``path``.
        ValueError: not readable, not one series, colour, 4D, sheared, unevenly spaced, or not finite.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no volume '{path}'; give a file or a folder with one DICOM series.")
    image = read_series(path) if path.is_dir() else _read_file(path)
    return _to_volume(image, path)


@decimal_point()
def stored_bytes(path: Path) -> int:
    """What a volume's voxels take, by its header alone; 0 where that cannot be read, which ``read_volume`` refuses."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    with text_path(path) as name:
        files = [str(name)] if path.is_file() else sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(name))
        try:
            reader.SetFileName(next(iter(files), ""))
            reader.ReadImageInformation()
        except RuntimeError:
            return 0
    components = reader.GetNumberOfComponents()
    one = sitk.Image([1] * reader.GetDimension(), reader.GetPixelID(), components)
    return math.prod(reader.GetSize()) * len(files) * components * one.GetSizeOfPixelComponent()


def _read_file(path: Path) -> Any:
    import SimpleITK as sitk

    if not path.name.lower().endswith(READABLE):
        raise ValueError(f"'{path.name}' is not of a known format; give one of {', '.join(READABLE)}, or a folder with "
                         "one DICOM series.")
    if path.name.lower().endswith(NIFTI):
        check_nifti(path)
    try:
        with text_path(path) as name:
            return sitk.ReadImage(str(name))
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise ValueError(sheared(path.name)) from error
        raise ValueError(f"'{path.name}' cannot be read; it is damaged or incomplete, or not what its ending says, so "
                         "copy or export it again.") from error


def _to_volume(image: Any, path: Path) -> Volume:
    import SimpleITK as sitk

    if image.GetNumberOfComponentsPerPixel() != 1:
        raise ValueError(f"'{path.name}' is a colour or vector image with {image.GetNumberOfComponentsPerPixel()} "
                         "components; give a volume with one grey value per voxel.")
    size = image.GetSize()
    if len(size) > 3 and any(extent > 1 for extent in size[3:]):
        raise ValueError(f"'{path.name}' has {len(size)} dimensions ({' x '.join(map(str, size))}); "
                         "give one 3D volume, e.g. one time point.")
    if len(size) > 3:
        image = image[(slice(None),) * 3 + (0,) * (len(size) - 3)]
    if len(size) == 2:
        image = sitk.JoinSeries(image)
    volume = Volume(sitk.GetArrayFromImage(image), image.GetSpacing(), image.GetOrigin(), image.GetDirection())
    _check(volume, path)
    return volume


def _check(volume: Volume, path: Path) -> None:
    require_right_angles(np.reshape(volume.direction, (3, 3)), path.name)
    if min(volume.spacing) <= 0 or not np.isfinite([*volume.spacing, *volume.origin]).all():
        raise ValueError(f"'{path.name}' has the voxel size {volume.spacing} mm; its header is damaged, export it "
                         "again.")
    if not np.issubdtype(volume.array.dtype, np.number) or np.iscomplexobj(volume.array):
        raise ValueError(f"'{path.name}' holds values of type {volume.array.dtype}; give integers or real numbers.")
    if np.issubdtype(volume.array.dtype, np.floating) and not np.isfinite(volume.array).all():
        count = int((~np.isfinite(volume.array)).sum())
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
            if ending in NIFTI:
                check_nifti(unfinished)  # ITK does not notice a full disk here
        except (RuntimeError, ValueError) as error:
            raise OSError(f"'{path}' could not be written; check that the disk has room and the folder may be written "
                          "to.") from error


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
