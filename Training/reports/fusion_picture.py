"""What each expert is worth to a model, as a picture: what changes without it, and what the fusion adds by block."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import atomic_write
from Training.reports.box_plots import COLOURS

HEARD = 0.01  # share of the foreground that an expert has to change to count


def draw_fusion(path: Path, report: Mapping[str, Any]) -> None:
    """Write a PNG of a fusion report: bars of the removals and, where there are blocks, their window's shares."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 2 if "blocks" in report else 1
    figure = Figure(figsize=(4.8 * columns, 3.6), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    _draw_removals(axes[0], report["removed"])
    if columns > 1:
        _draw_blocks(axes[1], report["blocks"])
    figure.suptitle(f"{Path(report['checkpoint']).name} on {len(report['volumes'])} volume"
                    + "s" * (len(report["volumes"]) > 1), fontsize=10)
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


def _draw_removals(axis: Any, removed: Mapping[str, Mapping[str, float]]) -> None:
    shares = [100 * change["foreground"] for change in removed.values()]
    bars = axis.barh(list(removed), shares, color=COLOURS[0])
    axis.bar_label(bars, [f"{share:.2f}" for share in shares], padding=3, fontsize=8)
    axis.axvline(100 * HEARD, color="black", linestyle=":", linewidth=1)
    axis.set_xlim(0, 1.2 * max(*shares, 100 * HEARD))
    axis.invert_yaxis()
    axis.set_xlabel("foreground changed without it (%)")


def _draw_blocks(axis: Any, blocks: list[Mapping[str, float]]) -> None:
    for (name, label), colour in zip((("window_share", "same for a whole window"), ("effective_keys", "effective keys"),
                                      ("size", "size beside the block's output")), COLOURS, strict=False):
        axis.plot([block[name] for block in blocks], "o-", color=colour, label=label)
    axis.set_xticks(range(len(blocks)))
    axis.set_ylim(0, 1.05)
    axis.set_xlabel("block")
    axis.set_ylabel("share")
    axis.legend(frameon=False, fontsize=8)
