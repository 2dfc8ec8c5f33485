"""Whether a volume can be what a model was made for: refused where it surely is not, told where it may not be.

By DICOM's Modality and the grey values alone, on a coarse grid (torch-free). Thresholds were set on CTs and MRs of five
sources, their crops, and scaled, shifted, windowed, inverted and normalised copies: see docs/decisions/0013.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from SAMoraLib.preprocessing.body import COARSE_MM
from SAMoraLib.preprocessing.settings import SCANS, Preprocessing
from SAMoraLib.volume import Volume

Tell = Callable[[str], None]
AIR_HU = -700  # below: the air around a patient, or what pads a slice; nothing else but lung
NO_FAT = 0.005  # share of voxels below FAT_HU
PADDING_HU = -1100  # below: what scanners write where they did not measure
FAT_HU = -20  # below: fat, lung or air, of which every abdomen has some
SOFT_HU = (-250, 350)  # fat to enhanced vessels: most of every body
NORMALISED = 20.0  # values of a span below this are no HU, whatever their mean
BYTE = 255
ENOUGH = 100_000  # voxels for a percentile
FEW_LABELS = 256
SMALL_MM = 60.0
NAMES = {"PT": "PET", "NM": "a scintigram", "US": "ultrasound", "MR": "MR", "CT": "CT", "SEG": "a segmentation"}


class WrongInput(ValueError):
    """A volume that a model is not for.

    Attributes:
        looks_like: the modality that it seems to have, CT or MR; empty where that is not known.
    """

    def __init__(self, message: str, looks_like: str = "") -> None:
        super().__init__(message)
        self.looks_like = looks_like


@dataclass(frozen=True)
class Greys:
    """What is asked of the grey values.

    Attributes:
        low, high: the smallest and the largest.
        darkest: the share of voxels that are the smallest, on the coarse grid.
        air, dark, soft, bright: shares below ``AIR_HU``, below ``FAT_HU``, within ``SOFT_HU``, above 700 (bone, metal).
        shifted: share where soft tissue lies if 1000 or 1024 were added, as far as that is no soft tissue itself.
        deep: the 2nd percentile of what is neither the smallest value nor padding.
        usual: the 1st and 99.5th percentile.
        ground: the share within a tenth of ``usual`` from its lower end, as the air around a patient.
        rim: how bright the border of the slices is, 0 for the lower end of ``usual`` and 1 for the upper.
        labels: whether they are few whole numbers that fill areas.
    """

    low: float
    high: float
    darkest: float
    air: float
    dark: float
    soft: float
    bright: float
    shifted: float
    deep: float
    usual: tuple[float, float]
    ground: float
    rim: float
    labels: bool

    @classmethod
    def of(cls, volume: Volume) -> Greys:
        """Measure a volume; about 3 mm apart is near enough."""
        k, j, i = (max(1, round(COARSE_MM / size)) for size in reversed(volume.spacing))
        values = np.ascontiguousarray(volume.array[::k, ::j, ::i])
        low, high = float(values.min()), float(values.max())
        some = values.ravel()[::max(1, values.size // ENOUGH)]
        others = some[(some > low) & (some != _padding(some))]
        first, last = np.percentile(some, (1, 99.5)).tolist()
        span = last - first or 1.0
        rim = np.concatenate([values[:, [0, -1]].ravel(), values[:, :, [0, -1]].ravel()])
        return cls(low, high, _share(values == low), _share(values < AIR_HU), _share(values < FAT_HU),
                   _share((values > SOFT_HU[0]) & (values < SOFT_HU[1])), _share(values > 700),
                   _share((values > 800) & (values < 1300)), float(np.percentile(others, 2)) if others.size else low,
                   (first, last), _share(values <= first + span / 10), float((np.median(rim) - first) / span),
                   _are_labels(values) and _are_labels(volume.array[::max(1, len(volume.array) // 16)]))


def _padding(values: np.ndarray) -> float:
    """The value outside a round field of view: the most frequent one below all air; NaN if there is none."""
    found, counts = np.unique(values[values < PADDING_HU], return_counts=True)
    return float(found[counts.argmax()]) if found.size else np.nan


def _share(where: np.ndarray) -> float:
    return float(where.mean())


def _are_labels(array: np.ndarray) -> bool:
    """Few whole numbers from 0 on, of which most are next to their like."""
    low, high = array.min(), array.max()
    if low < 0 or high > 10 * FEW_LABELS or low == high:
        return False
    values = np.unique(array)
    if len(values) > FEW_LABELS or (values % 1).any():
        return False
    left, right = array[:, :, :-1], array[:, :, 1:]
    inside = (left > 0) & (right > 0)
    return bool(inside.any() and (left == right)[inside].mean() > 0.8)


def check_input(volume: Volume, name: str, preprocessing: Preprocessing, tell: Tell, assume_hu: bool = False) -> None:
    """Refuse a volume that is surely not of the model's kind, and tell of one that may not be.

    Args:
        name: of the volume, for messages.
        assume_hu: whoever asks knows the values to be HU; nothing is refused, and little told.

    Raises:
        WrongInput: another modality by DICOM's word or by the grey values; a label volume; values that are normalised,
            shifted, windowed, inverted or scaled.
    """
    wanted = preprocessing.modality
    if min(side for side in _sides(volume)[:2]) < SMALL_MM:
        across = " x ".join(f"{side:.0f}" for side in _sides(volume)[:2])
        tell(f"'{name}' shows only {across} mm of the patient, which is less than an abdomen; check its voxel size.")
    if assume_hu and wanted == "CT":
        return
    _check_modality(volume.modality, name, wanted)
    greys = Greys.of(volume)
    span = f"from {greys.low:g} to {greys.high:g}"
    if greys.labels:
        raise WrongInput(f"'{name}' is a label volume, with values {span}; give the image that it was drawn on."
                         + _escape(wanted))
    if wanted == "CT":
        _check_hu(greys, name, span, tell)
    elif wanted == "MR" and greys.air > 0.02 and greys.low < -900 and volume.modality != "MR":
        raise WrongInput(f"'{name}' looks like a CT (values {span}), but the model is for MR; choose a model for CT.",
                         "CT")


def _sides(volume: Volume) -> list[float]:
    """Lengths of the grid, mm, the largest first."""
    return sorted((size * step for size, step in zip(volume.array.shape[::-1], volume.spacing, strict=True)),
                  reverse=True)


def _check_modality(found: str, name: str, wanted: str) -> None:
    taken = SCANS if wanted == "any" else (wanted,)
    if found and found not in taken:
        raise WrongInput(f"'{name}' is {NAMES.get(found, found)} by its DICOM header, but the model is for "
                         f"{' and '.join(taken)}; choose a model for {NAMES.get(found, found)}, or give "
                         f"{' or '.join(map(_article, taken))}." + _escape(wanted), found if found in SCANS else "")


def _article(modality: str) -> str:
    return f"an {modality}" if modality == "MR" else f"a {modality}"


def _escape(wanted: str) -> str:
    return " If its values are HU all the same, say so (--assume-hu, 'Take values for HU')." if wanted == "CT" else ""


def _check_hu(greys: Greys, name: str, span: str, tell: Tell) -> None:
    if greys.low == greys.high:
        tell(f"'{name}' is {greys.low:g} everywhere; no organ can be seen in it.")
        return
    why, looks_like = _no_hu(greys)
    if why:
        raise WrongInput(f"'{name}' {why}: its values run {span}, and the model is for CT in HU (air -1000, water 0); "
                         f"give {'a CT, or choose a model for MR' if looks_like else 'the original CT'}."
                         + _escape("CT"), looks_like)
    if _has_no_air(greys):
        tell(f"'{name}' has hardly a value below {greys.usual[0]:.0f} HU, so it seems to be windowed, scaled or "
             "shifted; give the original CT if there is one.")
    elif greys.dark < NO_FAT or greys.soft < 0.02:
        tell(f"'{name}' shows {'no fat or air' if greys.dark < NO_FAT else 'hardly any soft tissue'} (values {span}); "
             "check that it is a CT of the abdomen in HU.")


def _has_no_air(greys: Greys) -> bool:
    """Whether something fills the darkest part of a volume as air does, and is none."""
    first, last = greys.usual
    is_fat = -150 < first < -50 and last - first > 150  # of a volume that lies within the body
    return first > AIR_HU and (greys.darkest > 0.05 or (greys.ground > 0.15 and not is_fat))


def _no_hu(greys: Greys) -> tuple[str, str]:
    """Why values cannot be HU, and the modality that they look like; empty where they can."""
    if greys.high - greys.low < NORMALISED or max(abs(greys.low), abs(greys.high)) < NORMALISED:
        return "has been normalised", ""
    if greys.bright > 0.3 and greys.air < 0.01 and greys.low < 0:
        return "looks inverted, or shifted upwards", ""
    if greys.low >= -50 and greys.shifted > 0.1 and greys.shifted > greys.soft / 4 and greys.high > 1300:
        return "looks like a CT to which 1000 or 1024 was added", ""
    if greys.deep < -1500:
        return "is scaled, or shifted downwards", ""
    if greys.dark >= NO_FAT or (greys.darkest < 0.02 and greys.usual[1] < 350):
        return "", ""
    if greys.rim > 0.5 or greys.low > 200:
        return "looks inverted, or shifted upwards", ""
    return ("has been windowed to grey levels", "") if greys.high <= BYTE else ("looks like an MR", "MR")
