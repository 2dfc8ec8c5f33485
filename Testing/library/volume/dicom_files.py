"""DICOM files of any kind for tests, written with pydicom: a series of slices, or one file of many frames.

Values are in HU, (D, H, W); slices lie 2.5 mm apart along the normal of ``AXES`` and are stored as HU + 1024.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

HU = np.random.default_rng(0).integers(-1000, 1000, (6, 8, 9)).astype(np.int16)
AXES = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
ACROSS, DOWN, STEP = 0.8, 0.9, 2.5
OFFSET = -1024

Edit = Callable[[int, Any], None]


def unchanged(number: int, data: Any) -> None:
    """What leaves a data set as it is."""


def place(number: int) -> np.ndarray:
    """LPS mm of slice ``number``."""
    return AXES @ (5, 6, STEP * number)


def texts(numbers: Any) -> list[str]:
    return [f"{number:.9g}" for number in np.ravel(numbers)]


def stored(plane: np.ndarray, slope: float = 1.0, offset: float = OFFSET) -> bytes:
    return np.rint((plane - offset) / slope).astype("<i2").tobytes()


def slice_file(number: int, series: str = "1.2.3.1", hu: np.ndarray = HU, slope: float = 1.0) -> FileDataset:
    """The data set of one slice; may be changed before it is saved."""
    data = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=bytes(128))
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", series, "CT"
    data.ImageType, data.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], number + 1
    data.ImagePositionPatient, data.ImageOrientationPatient = texts(place(number)), texts(AXES.T[:2])
    data.PixelSpacing, data.SliceThickness = texts((DOWN, ACROSS)), f"{STEP}"
    data.Rows, data.Columns = hu.shape[1:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = f"{slope:g}", f"{OFFSET}", "HU"
    data.PixelData = stored(hu[number], slope)
    return data


def save(data: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def series(folder: Path, edit: Edit = unchanged, count: int = len(HU), name: str = "IM{:04}.dcm") -> Path:
    """A file for each slice; ``edit(number, data)`` may change it."""
    for number in range(count):
        data = slice_file(number)
        edit(number, data)
        save(data, folder / name.format(number))
    return folder


def group(**values: object) -> Dataset:
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def frames_file(order: Sequence[int] = tuple(range(len(HU))), frame: Edit = unchanged,
                shared: Callable[[Dataset], None] = lambda data: None, slopes: Sequence[float] | None = None
                ) -> FileDataset:
    """An enhanced CT of the slices in ``order``.

    Args:
        frame: may change a frame's functional groups.
        shared: may change the shared ones.
        slopes: of each frame; None: 1, said in the shared group.
    """
    data = slice_file(0)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = EnhancedCTImageStorage
    measures = group(PixelSpacing=data.PixelSpacing, SliceThickness=data.SliceThickness)
    common = group(PixelMeasuresSequence=[measures],
                   PlaneOrientationSequence=[group(ImageOrientationPatient=data.ImageOrientationPatient)])
    if slopes is None:
        common.PixelValueTransformationSequence = [_to_hu(1)]
    shared(common)
    own, pixels = [], b""
    for number, of in enumerate(order):
        one = group(PlanePositionSequence=[group(ImagePositionPatient=texts(place(of)))],
                    FrameContentSequence=[group(InStackPositionNumber=number + 1)])
        if slopes is not None:
            one.PixelValueTransformationSequence = [_to_hu(slopes[number])]
        frame(number, one)
        own.append(one)
        pixels += stored(HU[of], slopes[number] if slopes else 1)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                 "RescaleIntercept", "RescaleType"):
        delattr(data, name)
    data.NumberOfFrames, data.PixelData = len(own), pixels
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [common], own
    return data


def _to_hu(slope: float) -> Dataset:
    return group(RescaleSlope=f"{slope:g}", RescaleIntercept=f"{OFFSET}", RescaleType="HU")


def as_mr(number: int, data: Any) -> None:
    """An MR slice, whose pixels are not scaled."""
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.Modality = "MR"
    del data.RescaleSlope, data.RescaleIntercept, data.RescaleType
