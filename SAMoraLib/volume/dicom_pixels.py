"""Grey values of multi-frame DICOM files that GDCM does not scale, or not frame by frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from SAMoraLib.volume.dicom_frames import AsFarAsItGoes, Header


def scale_frames(header: Header) -> np.ndarray:
    """(frames, H, W): slope * stored + intercept of each frame, int32 where all of these are whole numbers.

    Raises:
        RuntimeError: the pixels are compressed in a way that pydicom does not read by itself.
    """
    from pydicom import dcmread

    try:
        with AsFarAsItGoes(header.file.open("rb", buffering=0)) as file:
            data = dcmread(file, force=True)
            stored = _meant(data.pixel_array, data)
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises whatever it stumbles over
        raise RuntimeError(f"its frames cannot be decoded ({error})") from error
    rescales = np.nan_to_num([frame.rescale for frame in header.frames])
    whole = stored.dtype.kind in "iu" and not (rescales % 1).any()
    values = np.empty(stored.shape, np.int32 if whole else np.float64)
    for plane, frame, (slope, intercept) in zip(values, stored, rescales, strict=True):
        plane[:] = frame.astype(np.float64) * slope + intercept
    return values


def _meant(stored: np.ndarray, data: Any) -> np.ndarray:
    """Integers without what lies in their unused bits: overlays, or a sign that was not carried on."""
    if stored.dtype.kind not in "iu" or data.BitsStored == data.BitsAllocated:
        return stored
    values = stored.astype(np.int64) & ((1 << data.BitsStored) - 1)
    if data.PixelRepresentation:
        values -= (values >> (data.BitsStored - 1)) << data.BitsStored
    return values
