"""The tables of the SAMora paper (1-6) and its supplement (9-15, B.6) as data, with our column beside theirs.

``Training/papers/table_N.yaml``: every number as printed, a name for each row, and what we can measure of each column.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from Training.reports.metrics import CONVENTIONS
from Training.reports.results import number
from Training.reports.rows import Row
from Training.reports.tables import Table
from Training.settings.untrusted_yaml import read_yaml

NOTHING = "-"
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
    data = read_yaml(PAPERS / f"table_{name}.yaml")
    rows = {key: _cells(line) for key, line in data["rows"].items()}
    measured = {column: Measured(**what) for column, what in data.get("measured", {}).items()}
    return PaperTable(data["title"], tuple(data["columns"]), measured, rows, tuple(data.get("notes", ())))


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.split("|"))


def beside_ours(paper: PaperTable, ours: Sequence[Row], convention: str) -> Table:
    """The printed table with a column of ours after each one that we measured, dashes where no run has the row's name.

    Raises:
        ValueError: runs are given, but none belongs to any row.
    """
    by_name = {row.name: row for row in ours}
    wanted = dict.fromkeys(key + what.run for key in paper.rows for what in paper.measured.values())
    used = [name for name in by_name if name in wanted]
    if ours and not used:
        raise ValueError(f"No run is called as a row of '{paper.title}'; give runs as NAME=FOLDER with a NAME of "
                         f"{', '.join(wanted) or 'another table: here nothing is measured'}.")
    measured = {column: _our_column(paper, what, by_name, convention) for column, what in paper.measured.items()}
    shown = {column: cells for column, cells in measured.items() if set(cells) != {NOTHING}}
    columns = []
    for column, *printed in zip(paper.columns, *paper.rows.values(), strict=True):
        columns.append((column, *printed))
        if column in shown:
            columns.append(("ours", *shown[column]))
    header, *rows = zip(*columns, strict=True)
    notes = [*paper.notes, *(_about(by_name[name], convention) for name in used)]
    return Table(header, tuple(rows), paper.title, tuple(notes))


def _our_column(paper: PaperTable, what: Measured, by_name: Mapping[str, Row], convention: str) -> list[str]:
    """Our number for every row of the table, a dash where no run has its name."""
    return [_ours(by_name.get(key + what.run), what, convention) for key in paper.rows]


def _ours(row: Row | None, what: Measured, convention: str) -> str:
    if row is None:
        return NOTHING
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
