"""One slice with what a model finds of it by each of its experts: where each alone is right, and what is fused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from SAMoraLib.system.files import atomic_write
from SAMoraLib.volume import Volume, to_canonical

INCHES = 2.8
RIGHT, WRONG = (0.0, 0.62, 0.45), (0.84, 0.37, 0.0)  # Okabe and Ito's green and orange


def draw_experts(path: Path, image: Volume, found: Mapping[str, np.ndarray], reference: np.ndarray) -> None:
    """Write a PNG of the axial slice with most of the reference: each answer, green where it is right about an organ
    and orange where it is wrong.

    Args:
        found: labels by name, on the image's grid as ``reference``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    canonical, _ = to_canonical(image)
    labels = {name: to_canonical(image.with_array(each))[0].array for name, each in {**found, "": reference}.items()}
    truth = labels.pop("")
    number = int((truth > 0).sum(axis=(1, 2)).argmax())
    low, high = np.percentile(canonical.array, (1, 99))
    grey = np.clip((canonical.array[number] - low) / max(high - low, 1e-6), 0, 1)
    aspect = canonical.spacing[1] / canonical.spacing[0]
    height = INCHES * aspect * grey.shape[0] / grey.shape[1]
    figure = Figure(figsize=(INCHES * (1 + len(labels)), height + 0.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + len(labels), squeeze=False)[0]
    pictures = {"reference": paint(grey, truth[number], truth[number])}
    pictures |= {name: paint(grey, each[number], truth[number]) for name, each in labels.items()}
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        axis.set_axis_off()
        axis.set_title(name, fontsize=10)
        axis.imshow(picture, aspect=aspect)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


def paint(grey: np.ndarray, found: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] -> (H, W, 3): half green where an organ is found that is there, half orange where found and
    reference differ.
    """
    picture = np.repeat(grey[..., None], 3, axis=-1)
    for where, colour in (((found == reference) & (reference > 0), RIGHT), (found != reference, WRONG)):
        picture[where] = 0.5 * picture[where] + 0.5 * np.array(colour)
    return picture
