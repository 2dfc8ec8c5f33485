"""Best, median and worst test case: the image, the reference and what each row's first run predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import LabelSet
from SAMoraLib.system.files import atomic_write
from SAMoraLib.volume import to_canonical
from SAMoraLib.volume.io import read_volume
from Training.data.manifest import Manifest, relabel
from Training.reports.results import case_mean, number
from Training.reports.rows import Row

INCHES = 2.6  # width of a slice
MARGIN = 25.0  # mm around all organs
ALPHA = 0.45
# Told apart beside each other, as Slicer's colours of liver, kidneys, stomach and aorta are not.
COLOURS = ("#E8554E", "#3F8EFC", "#43C59E", "#B079E8", "#F2B134", "#F78FB3", "#2EC4D6", "#9BC53D", "#A9714B", "#C8C8C8")


@dataclass(frozen=True)
class Panels:
    """What one line shows.

    Attributes:
        picture: (h, w) of the image, in [0, 1].
        aspect: height of a pixel over its width.
        overlays: (h, w) labels of the reference and of each row.
    """

    picture: np.ndarray
    aspect: float
    overlays: list[np.ndarray]

    @property
    def height(self) -> float:
        """Of a panel that is 1 wide."""
        return self.aspect * self.picture.shape[0] / self.picture.shape[1]


def draw_overlay_sheet(path: Path, rows: Sequence[Row], manifest: Manifest, convention: str = "strict") -> None:
    """Write a PNG with a line per case: one axial slice, the one that shows most of all organs.

    Raises:
        ValueError: a case is not in the manifest, or a run kept no segmentation of it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = best_median_worst(rows, convention)
    panels = {case: _panels(case, rows, manifest) for case in chosen}
    height = max(images.height for images in panels.values())
    columns = 2 + len(rows)
    figure = Figure(figsize=(columns * INCHES, len(chosen) * (INCHES * height + 0.25) + 0.6), dpi=80,
                    layout="constrained")
    FigureCanvasAgg(figure)  # no display needed, and pyplot's global state is left alone
    axes = figure.subplots(len(chosen), columns, squeeze=False)
    for line, (case, what) in zip(axes, chosen.items(), strict=True):
        _draw_case(line, panels[case], manifest.labels)
        line[0].set_title(f"{what}: case {case}", fontsize=10)
        line[1].set_title("reference", fontsize=10)
        for axis, row in zip(line[2:], rows, strict=True):
            dice = case_mean(next(r for r in row.seeds[0] if r["case"] == case), convention, "dice")
            axis.set_title(f"{row.name}: Dice {number(dice, 3)}", fontsize=10)
    _legend(figure, manifest.labels, rows[0].organs)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


def best_median_worst(rows: Sequence[Row], convention: str = "strict") -> dict[str, str]:
    """Case -> "best", "median" or "worst" by the mean Dice of all rows; fewer where there are fewer cases.

    Raises:
        ValueError: the rows have no case in common.
    """
    means = [row.case_means(convention, "dice") for row in rows]
    shared = set(means[0]).intersection(*means[1:])
    if not shared:
        raise ValueError("The runs share no test case; draw runs of one data set.")
    order = sorted(shared, key=lambda case: (-sum(mean[case] for mean in means), case))
    places = {"best": 0, "median": len(order) // 2, "worst": len(order) - 1}
    found: dict[str, str] = {}
    for what, place in places.items():
        found.setdefault(order[place], what)
    return found


def _panels(case: str, rows: Sequence[Row], manifest: Manifest) -> Panels:
    """One slice, cut to what lies around the organs."""
    entry = next((entry for entry in manifest.cases if entry.id == case), None)
    if entry is None:
        raise ValueError(f"The manifest in '{manifest.root}' has no case '{case}'; give the one that the runs were "
                         "tested on.")
    image, _ = to_canonical(read_volume(manifest.image_path(entry)))
    label, _ = to_canonical(read_volume(manifest.label_path(entry)))
    labels = [relabel(label.array, manifest.label_map), *(_segmentation(row, case) for row in rows)]
    at = fullest_slice(labels[0])
    window = np.percentile(image.array, (1, 99))
    box = _box(np.any([volume[at] > 0 for volume in labels], axis=0), image.spacing)
    picture = np.clip((image.array[at][box] - window[0]) / max(window[1] - window[0], 1e-6), 0, 1)
    return Panels(picture, image.spacing[1] / image.spacing[0], [volume[at][box] for volume in labels])


def _segmentation(row: Row, case: str) -> np.ndarray:
    path = row.runs[0] / "test" / "cases" / f"{case}.nii.gz"
    if not path.is_file():
        raise ValueError(f"'{row.runs[0]}' kept no segmentation of case '{case}'; evaluate it again.")
    return to_canonical(read_volume(path))[0].array


def fullest_slice(labels: np.ndarray) -> int:
    """Where the areas of all organs, each as a share of its largest, add up to most; ``labels`` (D, H, W)."""
    areas = np.array([(labels == value).sum(axis=(1, 2)) for value in np.unique(labels[labels > 0])], dtype=float)
    return int((areas / areas.max(axis=1, keepdims=True)).sum(axis=0).argmax()) if len(areas) else len(labels) // 2


def _box(mask: np.ndarray, spacing: tuple[float, float, float]) -> tuple[slice, slice]:
    """Around ``mask`` (H, W) with a margin; everything if it is empty."""
    if not mask.any():
        return slice(None), slice(None)
    occupied = [np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))]
    margins = [round(MARGIN / spacing[1]), round(MARGIN / spacing[0])]
    rows, columns = (slice(max(0, int(at[0]) - margin), int(at[-1]) + margin + 1)
                     for at, margin in zip(occupied, margins, strict=True))
    return rows, columns


def _draw_case(axes: Sequence[Any], panels: Panels, labels: LabelSet) -> None:
    for axis, overlay in zip(axes, [None, *panels.overlays], strict=True):
        axis.set_axis_off()
        axis.imshow(panels.picture, cmap="gray", vmin=0, vmax=1, aspect=panels.aspect, interpolation="bilinear")
        for label in labels:
            if overlay is not None:
                _draw_organ(axis, overlay == label.value, COLOURS[(label.value - 1) % len(COLOURS)])


def _draw_organ(axis: Any, mask: np.ndarray, colour: str) -> None:
    if mask.any():
        axis.contourf(mask, levels=[0.5, 1.5], colors=[colour], alpha=ALPHA)
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.2)


def _legend(figure: Any, labels: LabelSet, organs: Sequence[str]) -> None:
    from matplotlib.patches import Patch

    shown = [label for label in labels if label.name in organs]
    figure.legend(handles=[Patch(color=COLOURS[(label.value - 1) % len(COLOURS)], label=label.title)
                           for label in shown],
                  loc="outside lower center", ncols=min(8, len(shown)), frameon=False, fontsize=10)
