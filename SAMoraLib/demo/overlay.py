"""A picture of a segmentation: axial, coronal and sagittal slices with the organs in colour."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Volume, to_canonical

OPACITY = 0.45


def write_overlay(image: Volume, segmentation: Volume, labels: LabelSet, path: str | Path,
                  window: tuple[float, float], title: str = "") -> None:
    """Write a PNG of the three planes that cross the organs, in true proportions, with a legend.

    Args:
        window: grey values shown black and white, HU for CT.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.patches import Patch

    canonical, reorientation = to_canonical(image)
    classes = reorientation.apply(segmentation.array)
    sx, sy, sz = canonical.spacing
    k, j, i = _centre(classes)
    views = {
        "axial": (canonical.array[k], classes[k], sy / sx),
        "coronal": (canonical.array[::-1, j], classes[::-1, j], sz / sx),
        "sagittal": (canonical.array[::-1, :, i], classes[::-1, :, i], sz / sy),
    }
    _, height, width = canonical.array.shape
    figure, axes = plt.subplots(1, 3, figsize=(15, 5), facecolor="black", width_ratios=[width * sx, width * sx,
                                                                                        height * sy])
    for axis, (name, (grey, values, aspect)) in zip(axes, views.items(), strict=True):
        axis.imshow(_coloured(grey, values, labels, window), aspect=aspect, interpolation="bilinear")
        axis.set_title(name, color="white")
        axis.axis("off")
    handles = [Patch(color="#{:02x}{:02x}{:02x}".format(*label.rgb), label=label.title) for label in labels
               if (classes == label.value).any()]
    figure.legend(handles=handles, loc="lower center", ncols=max(len(handles), 1), frameon=False, labelcolor="white")
    figure.suptitle(title, color="white")
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=110, facecolor="black")
    plt.close(figure)


def _centre(classes: np.ndarray) -> tuple[int, int, int]:
    """The slice of each plane that shows the most different organs, and of those the largest area."""
    if not classes.any():
        depth, height, width = classes.shape
        return depth // 2, height // 2, width // 2
    best = []
    for axis in range(3):
        planes = np.moveaxis(classes, axis, 0)
        scores = [(len(np.unique(plane)), int((plane > 0).sum())) for plane in planes]
        best.append(max(range(len(scores)), key=scores.__getitem__))
    return best[0], best[1], best[2]


def _coloured(grey: np.ndarray, values: np.ndarray, labels: LabelSet, window: tuple[float, float]) -> np.ndarray:
    low, high = window
    shade = np.clip((grey.astype(np.float32) - low) / (high - low), 0, 1)
    rgb = np.repeat(shade[..., None], 3, axis=-1)
    for label in labels:
        inside = values == label.value
        rgb[inside] = (1 - OPACITY) * rgb[inside] + OPACITY * np.array(label.rgb) / 255
    return rgb
