"""CHAOS, the abdominal challenge of 2019: DICOM slices with PNG masks of 20 CTs (liver) and 20 MRs (four organs)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from SAMoraLib.volume import Volume
from SAMoraLib.volume.dicom import headers_of, in_order, read_images
from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = ("Train_Sets/CT/1/{DICOM_anon,Ground}, Train_Sets/MR/1/T2SPIR/{DICOM_anon,Ground} and "
          "Train_Sets/MR/1/T1DUAL/{DICOM_anon/{InPhase,OutPhase},Ground}")
CT_NUMBERS = {1: "liver"}
MR_NUMBERS = {1: "liver", 2: "right_kidney", 3: "left_kidney", 4: "spleen"}
GREY = {"CT": ((1, 255),), "MR": ((55, 70), (110, 135), (175, 200), (240, 255))}  # of each organ, as CHAOS gives them
CT_CASES = (1, 2, 5, 6, 8, 10, 14, 16, 18, 19, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30)
MR_CASES = (1, 2, 3, 5, 8, 10, 13, 15, 19, 20, 21, 22, 31, 32, 33, 34, 36, 37, 38, 39)


Grey = tuple[tuple[int, int], ...]


def find_ct(folder: Path) -> Download:
    """Portal-venous CTs with the liver."""
    return _find(folder, "CT", CT_CASES, "DICOM_anon", "Ground")


def find_t2(folder: Path) -> Download:
    """T2-SPIR MRs with four organs."""
    return _find(folder, "MR", MR_CASES, "T2SPIR/DICOM_anon", "T2SPIR/Ground")


def find_t1(phase: str, folder: Path) -> Download:
    """``phase`` is InPhase or OutPhase; both have the same masks."""
    return _find(folder, "MR", MR_CASES, f"T1DUAL/DICOM_anon/{phase}", "T1DUAL/Ground")


def _find(folder: Path, modality: str, cases: tuple[int, ...], images: str, masks: str) -> Download:
    root = inner(folder, f"CHAOS_Train_Sets/Train_Sets/{modality}", f"Train_Sets/{modality}", modality)
    return collect(root, (_case(root / str(case), images, masks, GREY[modality]) for case in cases))


def _case(folder: Path, images: str, masks: str, grey: Grey) -> tuple[Source, list[Path]]:
    slices, drawn = folder / images, folder / masks
    source = Source(f"{int(folder.name):02d}", partial(_image, slices, drawn), partial(_label, slices, drawn, grey))
    return source, [slices, drawn]


def _image(slices: Path, masks: Path) -> Volume:
    files = [dicom for dicom, _ in _pairs(slices, masks)]
    return read_images(_name(slices), headers_of(_name(slices), files))


def _label(slices: Path, masks: Path, grey: Grey) -> Volume:
    """The masks in the order of the slices; nothing in a PNG says where it lies."""
    planes = [_plane(mask, grey) for _, mask in _pairs(slices, masks)]
    image = _image(slices, masks)
    if {plane.shape for plane in planes} != {image.array.shape[1:]}:
        raise ValueError(f"The masks in '{_name(masks)}' have {planes[0].shape} pixels but the slices "
                         f"{image.array.shape[1:]}; download the case again.")
    return image.with_array(np.stack(planes))


def _pairs(slices: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Slice and mask, from one end of the patient to the other.

    They belong together by the order of their names. Positions only sort the pairs: in some CTs they run against the
    names.
    """
    images, drawn = sorted(slices.glob("*.dcm")), sorted(masks.glob("*.png"))
    if not images or len(images) != len(drawn):
        raise ValueError(f"'{_name(slices)}' has {len(images)} DICOM slices but '{_name(masks)}' {len(drawn)} PNG "
                         f"masks; download the case again.")
    mask_of = dict(zip(images, drawn, strict=True))
    frames = [header.frames[0] for header in headers_of(_name(slices), images)]
    return [(frame.file, mask_of[frame.file]) for frame in in_order(_name(slices), frames)]


def _plane(path: Path, grey: Grey) -> np.ndarray:
    """A mask's organs, numbered in the order of ``grey``; 255 for grey values that CHAOS gives no meaning."""
    import SimpleITK as sitk

    try:
        plane = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise ValueError(f"'{path.name}' in '{_name(path.parent)}' cannot be read; it is damaged or incomplete, so "
                         f"download the case again.") from error
    numbers = np.where(plane == 0, 0, 255).astype(np.uint8)
    for number, (low, high) in enumerate(grey, start=1):
        numbers[(plane >= low) & (plane <= high)] = number
    return numbers


def _name(folder: Path) -> str:
    return "/".join(folder.parts[-3:])
