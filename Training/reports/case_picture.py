"""Axial slices with the contours of prediction and reference, to see what a Dice cannot say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import Label
from SAMoraLib.system.files import atomic_write
from SAMoraLib.volume import Volume, to_canonical

COLUMNS, ROWS = 4, 2
INCHES = 3.0  # of a slice, at 100 dots per inch

Masks = Mapping[Label, tuple[np.ndarray, np.ndarray]]  # of (D, H, W): prediction and reference


def draw_case(path: Path, title: str, image: Volume, masks: Masks) -> None:
    """Write a PNG of slices spread over the organs: reference in white, prediction in the organ's colour.

    Args:
        masks: prediction and reference of each organ, on the image's grid.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canonical, _ = to_canonical(image)
    turned = {label: (_canonical(image, prediction), _canonical(image, reference))
              for label, (prediction, reference) in masks.items()}
    figure = Figure(figsize=(COLUMNS * INCHES, ROWS * INCHES + 0.5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)  # no display needed, and pyplot's global state is left alone
    window = np.percentile(canonical.array, (1, 99))
    axes = figure.subplots(ROWS, COLUMNS, squeeze=False).flat
    for axis, number in zip(axes, slices_to_show(turned), strict=True):
        axis.set_axis_off()
        axis.imshow(canonical.array[number], cmap="gray", vmin=window[0], vmax=window[1],
                    aspect=canonical.spacing[1] / canonical.spacing[0])
        axis.set_title(f"slice {number}", fontsize=8)
        for label, (prediction, reference) in turned.items():
            _contour(axis, reference[number], (1.0, 1.0, 1.0), 1.6)
            _contour(axis, prediction[number], tuple(channel / 255 for channel in label.rgb), 1.0)
    figure.suptitle(f"{title}: reference white, prediction coloured", fontsize=10)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


def slices_to_show(masks: Masks) -> list[int]:
    """Slices at even distances from the first to the last that any mask touches; of all slices if none does."""
    touched = np.any([mask.any(axis=(1, 2)) for pair in masks.values() for mask in pair], axis=0)
    at = np.flatnonzero(touched) if touched.any() else np.arange(len(touched))
    return [round(number) for number in np.linspace(at[0], at[-1], ROWS * COLUMNS).tolist()]


def _canonical(image: Volume, mask: np.ndarray) -> np.ndarray:
    return to_canonical(image.with_array(mask.astype(np.uint8)))[0].array


def _contour(axis: Any, mask: np.ndarray, colour: tuple[float, ...], width: float) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=width)
