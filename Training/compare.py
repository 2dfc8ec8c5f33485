"""One table of several runs' test results; runs that differ in the seed alone become one row.

    python -m Training.compare runs/chaos_mr/samed_10_seed* runs/chaos_mr/samora_10_seed* --baseline samed_10
    python -m Training.compare samora_10=runs/mine_seed1 --paper-table 1 --format latex
    python -m Training.compare runs/a runs/b --pictures runs/compare --manifest runs/manifest.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from Training.reports.metrics import CONVENTIONS
from Training.reports.paired_test import Difference
from Training.reports.paper_tables import beside_ours, paper_tables, read_paper_table
from Training.reports.results import COLUMNS, number
from Training.reports.rows import Row, difference, read_rows, require_same_organs
from Training.reports.tables import FORMATS, Table
from Training.settings.program import program

HEADINGS = {"dice": "mean Dice", "hd95": "mean HD95", "nsd": "mean NSD"}
DIGITS = {"dice": 3, "hd95": 1, "nsd": 3}


def compare(rows: Sequence[Row], convention: str = "strict", baseline: Row | None = None) -> Table:
    """A line per row: Dice by organ, the means with their deviation over the seeds, and the gain over ``baseline``.

    Args:
        convention: how empty masks count, see ``Training.reports.metrics``.
        baseline: what each other row is paired with, case by case.

    Raises:
        ValueError: the rows do not share their organs, or with a baseline their cases.
    """
    organs = require_same_organs(rows)
    unit = CONVENTIONS[convention].unit
    metrics = [HEADINGS[metric] + (f" {unit}" if metric == "hd95" else "") for metric in COLUMNS[unit]]
    columns = ["run", "seeds", *(organ.replace("_", " ") for organ in organs), *metrics]
    lines = [_line(row, convention) for row in rows]
    notes: list[str] = []
    if baseline:
        columns += [f"Dice over {baseline.name} [95 % CI]", "p"]
        for line, row in zip(lines, rows, strict=True):
            line += ["", ""] if row.name == baseline.name else _gain(difference(row, baseline, convention))
        notes = [f"Paired t-test over {len(baseline.cases)} cases, seeds averaged first."]
    return Table(tuple(columns), tuple(map(tuple, lines)), notes=tuple(notes))


def _line(row: Row, convention: str) -> list[str]:
    """Name, seeds, Dice by organ, and the means of every metric of the convention."""
    organs = [number(row.organ_mean(organ, convention, "dice"), DIGITS["dice"]) for organ in row.organs]
    metrics = COLUMNS[CONVENTIONS[convention].unit]
    means = [_mean(row.seed_means(convention, metric), metric) for metric in metrics]
    return [row.name, str(len(row.seeds)), *organs, *means]


def _mean(means: Sequence[float], metric: str) -> str:
    if not means:
        return "-"
    mean = number(float(np.mean(means)), DIGITS[metric])
    if metric != "dice":
        return mean
    return f"**{mean}**" + (f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else "")


def _gain(gain: Difference) -> list[str]:
    if gain.low is None or gain.high is None or gain.p is None:
        return [f"{gain.mean:+.3f}", "-"]
    return [f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", f"{gain.p:.2g}"]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.compare", description="One table of several runs.")
    parser.add_argument("runs", nargs="*", metavar="RUN",
                        help="a run's folder with test/results.json, or NAME=FOLDER; one NAME is one row")
    parser.add_argument("--baseline", metavar="ROW", help="the row that the others are tested against, by its name")
    parser.add_argument("--paper-table", choices=paper_tables(), help="this table of SAMora's papers, ours beside it")
    parser.add_argument("--convention", choices=tuple(CONVENTIONS),
                        help="how empty masks count (default: strict; samed beside the papers' numbers)")
    parser.add_argument("--format", choices=tuple(FORMATS), default="markdown", help="(default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also draw box plots, and with --manifest a sheet")
    parser.add_argument("--manifest", type=Path, help="of the test cases: best, median and worst case side by side")
    return parser


def run(options: argparse.Namespace) -> Table:
    """The table that the command line asks for; pictures are drawn on the way.

    Raises:
        ValueError: see ``read_rows``, ``compare`` and ``beside_ours``.
    """
    if not options.runs and not options.paper_table:
        raise ValueError("No run is given; name folders with test/results.json, or a --paper-table.")
    rows = read_rows(options.runs)
    if options.pictures:
        draw(rows, options.pictures, options.manifest, options.convention or "strict")
    if options.paper_table:
        return beside_ours(read_paper_table(options.paper_table), rows, options.convention or "samed")
    return compare(rows, options.convention or "strict", _row_called(options.baseline, rows))


def _row_called(name: str | None, rows: Sequence[Row]) -> Row | None:
    if name is None:
        return None
    for row in rows:
        if name == row.name or Path(name) in row.runs:
            return row
    raise ValueError(f"The baseline '{name}' is no row; choose from {', '.join(row.name for row in rows)}.")


def draw(rows: Sequence[Row], folder: Path, manifest: Path | None, convention: str) -> None:
    """Box plots of every metric that was measured, and with a manifest an overlay sheet."""
    from Training.data.manifest import read_manifest
    from Training.reports.box_plots import draw_box_plots
    from Training.reports.overlay_sheet import draw_overlay_sheet

    require_same_organs(rows)
    for metric in COLUMNS[CONVENTIONS[convention].unit]:
        draw_box_plots(folder / f"{metric}.png", rows, metric, convention)
    if manifest:
        draw_overlay_sheet(folder / "cases.png", rows, read_manifest(manifest), convention)


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    try:
        print(FORMATS[options.format](run(options)))
    except (ValueError, FileNotFoundError) as error:
        parser().error(str(error))


if __name__ == "__main__":
    main()
