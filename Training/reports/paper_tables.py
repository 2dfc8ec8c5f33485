"""The tables of the SAMora paper (1-6) and its supplement (9-15, B.6) as data, with our column beside theirs.

``Training/papers/table_N.yaml``: every number as printed, a name for each row, and what we can measure of each column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from Training.reports.metrics import CONVENTIONS
from Training.reports.results import number
from Training.reports.rows import Row
from Training.reports.tables import Table

PAPERS = Path(__file__).parents[1] / "papers"
DIGITS = {"dice": 2, "nsd": 2, "hd95": 2, "seconds": 1}  # as the papers print them; shares in percent


@dataclass(frozen=True)
class Measured:
    """Which number of ours belongs into a column.

    Attributes:
        metric: "dice", "hd95", "nsd" or "seconds".
        organ: one organ's; the mean over the organs if empty.
        run: what is appended to the row's name to name our run, e.g. "_10".
    """

    metric: str = "dice"
    organ: str = ""
    run: str = ""


@dataclass(frozen=True)
class PaperTable:
    """One printed table: ``rows`` is our name of a row -> its cells as printed."""

    title: str
    columns: tuple[str, ...]
    measured: Mapping[str, Measured]
    rows: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


def paper_tables() -> list[str]:
    """The numbers of the tables that there are."""
    return sorted((path.stem.removeprefix("table_") for path in PAPERS.glob("table_*.yaml")),
                  key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0))


def read_paper_table(name: str) -> PaperTable:
    """The table called ``name``, e.g. "1" or "B.6".

    Raises:
        ValueError: there is none.
    """
    if name not in paper_tables():
        raise ValueError(f"There is no table '{name}'; choose from {', '.join(paper_tables())}.")
    data = yaml.safe_load((PAPERS / f"table_{name}.yaml").read_text(encoding="utf-8"))
    rows = {key: tuple(cell.strip() for cell in line.split("|")) for key, line in data["rows"].items()}
    measured = {column: Measured(**what) for column, what in data.get("measured", {}).items()}
    return PaperTable(data["title"], tuple(data["columns"]), measured, rows, tuple(data.get("notes", ())))


def beside_ours(paper: PaperTable, ours: Sequence[Row], convention: str) -> Table:
    """The printed table with a column of ours after each one that we measured, dashes where no run has the row's name.

    Raises:
        ValueError: runs are given, but none belongs to any row.
    """
    by_name = {row.name: row for row in ours}
    cells = {(key, column): _ours(by_name.get(key + what.run), what, convention)
             for key in paper.rows for column, what in paper.measured.items()}
    used = {key + what.run for key in paper.rows for what in paper.measured.values()} & set(by_name)
    if ours and not used:
        names = dict.fromkeys(key + what.run for key in paper.rows for what in paper.measured.values())
        raise ValueError(f"No run is called as a row of '{paper.title}'; give runs as NAME=FOLDER with a NAME of "
                         f"{', '.join(names) or 'another table: here nothing is measured'}.")
    shown = [column for column in paper.columns if any(cells.get((key, column), "-") != "-" for key in paper.rows)]
    columns = [name for column in paper.columns for name in ([column, "ours"] if column in shown else [column])]
    rows = [tuple(cell for column, printed in zip(paper.columns, line, strict=True)
                  for cell in ([printed, cells[key, column]] if column in shown else [printed]))
            for key, line in paper.rows.items()]
    notes = [*paper.notes, *(_about(by_name[name], convention) for name in by_name if name in used)]
    return Table(tuple(columns), tuple(rows), paper.title, tuple(notes))


def _ours(row: Row | None, what: Measured, convention: str) -> str:
    if row is None:
        return "-"
    if what.metric == "seconds":
        return number(row.seconds(), DIGITS["seconds"])
    if what.organ:
        mean = row.organ_mean(what.organ, convention, what.metric) if what.organ in row.organs else None
    else:
        means = row.seed_means(convention, what.metric)
        mean = sum(means) / len(means) if means else None
    return number(mean if mean is None or what.metric == "hd95" else 100 * mean, DIGITS[what.metric])


def _about(row: Row, convention: str) -> str:
    unit, seeds = CONVENTIONS[convention].unit, len(row.seeds)
    return (f"Ours, {row.name}: {seeds} {'seed' if seeds == 1 else 'seeds'}, {len(row.cases)} test cases "
            f"({', '.join(organ.replace('_', ' ') for organ in row.organs)}), convention {convention}"
            f"{f', HD95 in {unit}' if unit else ''}; only the same data and organs compare with the printed numbers.")
