"""Box plots per organ: every row's spread over cases and seeds, each of them a dot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.system.files import atomic_write
from Training.reports.metrics import CONVENTIONS
from Training.reports.rows import Row

# Okabe and Ito's colours, told apart by the colour-blind, too; black and yellow left out.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
AXES = {"dice": "Dice", "hd95": "HD95 ({unit})", "nsd": "NSD"}
GROUP = 0.8  # of the distance between two organs is taken by their boxes


def draw_box_plots(path: Path, rows: Sequence[Row], metric: str, convention: str = "strict") -> bool:
    """Write a PNG with a group of boxes for each organ, whiskers to the extremes; nothing if nothing was measured.

    Returns:
        whether a picture was written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    organs = rows[0].organs
    values = [_by_organ(row, convention, metric) for row in rows]
    if not any(map(any, values)):
        return False
    figure = Figure(figsize=(2.2 + len(organs) * max(1.0, 0.42 * len(rows)), 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for place, (row, row_values) in enumerate(zip(rows, values, strict=True)):
        _draw_row(axis, place, len(rows), row_values, f"{row.name} ({_runs(row)})")
    _label(axis, organs, AXES[metric].format(unit=CONVENTIONS[convention].unit), metric != "hd95")
    figure.legend(loc="outside upper center", ncols=min(2, len(rows)), frameon=False, fontsize=9)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")
    return True


def _by_organ(row: Row, convention: str, metric: str) -> list[list[float]]:
    return [row.values(organ, convention, metric) for organ in row.organs]


def _runs(row: Row) -> str:
    cases, seeds = len(row.cases), len(row.seeds)
    return f"{cases} case{'s' * (cases != 1)}" + (f" × {seeds} seeds" if seeds > 1 else "")  # noqa: RUF001


def _draw_row(axis: Any, place: int, rows: int, values: Sequence[Sequence[float]], name: str) -> None:
    """One box and its dots in each organ's group; ``values`` are in the organs' order."""
    colour, width = COLOURS[place % len(COLOURS)], GROUP / rows
    hatch = "//" if place >= len(COLOURS) else None  # a seventh row has the first one's colour
    centres = np.arange(len(values)) + (place - (rows - 1) / 2) * width
    filled = [number for number, found in enumerate(values) if found]
    if not filled:
        return
    boxes = axis.boxplot([values[number] for number in filled], positions=centres[filled], widths=0.8 * width,
                         whis=(0, 100), showcaps=False, patch_artist=True, manage_ticks=False,
                         medianprops={"color": "black"}, whiskerprops={"color": colour})
    for box in boxes["boxes"]:
        box.set(facecolor=colour, alpha=0.45, edgecolor=colour, hatch=hatch)
    boxes["boxes"][0].set_label(name)
    for number in filled:
        spread = np.linspace(-0.2, 0.2, len(values[number])) * width if len(values[number]) > 1 else 0.0
        axis.scatter(centres[number] + spread, values[number], s=12, color=colour, edgecolor="white", linewidth=0.5,
                     zorder=3)


def _label(axis: Any, organs: Sequence[str], quantity: str, share: bool) -> None:
    axis.set_xticks(range(len(organs)), [organ.replace("_", " ") for organ in organs])
    axis.set_xlim(-0.5, len(organs) - 0.5)
    low, _ = axis.get_ylim()
    axis.set_ylim(*((max(0.0, low), 1.0) if share else (0.0, None)))
    axis.set_ylabel(quantity)
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    for edge in np.arange(0.5, len(organs) - 1):
        axis.axvline(edge, color="0.85", linewidth=0.8)
