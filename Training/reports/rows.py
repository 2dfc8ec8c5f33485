"""Runs as the rows of a table: those that differ in the seed alone are one row (torch-free)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Training.reports.paired_test import Difference, paired_difference
from Training.reports.results import Result, case_mean, read_results, value

SEED = re.compile(r"_seed\d+$")


@dataclass(frozen=True)
class Row:
    """What the runs of one row found; ``seeds`` holds the cases of each run."""

    name: str
    runs: tuple[Path, ...]
    seeds: tuple[tuple[Result, ...], ...]

    @property
    def organs(self) -> tuple[str, ...]:
        return tuple(self.seeds[0][0]["organs"])

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(result["case"] for result in self.seeds[0])

    def values(self, organ: str, convention: str, metric: str) -> list[float]:
        """Every seed's and case's number that is defined."""
        found = [value(result, organ, convention, metric) for results in self.seeds for result in results]
        return [number for number in found if number is not None]

    def organ_mean(self, organ: str, convention: str, metric: str) -> float | None:
        """Mean over the cases, then over the seeds."""
        return _mean([_organ_mean(results, organ, convention, metric) for results in self.seeds])

    def seed_means(self, convention: str, metric: str) -> list[float]:
        """Of each seed the mean over the organs of the mean over the cases; seeds without any are left out."""
        means = []
        for results in self.seeds:
            means.append(_mean([_organ_mean(results, organ, convention, metric) for organ in self.organs]))
        return [mean for mean in means if mean is not None]

    def case_means(self, convention: str, metric: str) -> dict[str, float]:
        """Case -> mean over its organs, then over the seeds; cases where nothing is defined are left out."""
        means = {}
        for place, case in enumerate(self.cases):
            means[case] = _mean([case_mean(results[place], convention, metric) for results in self.seeds])
        return {case: mean for case, mean in means.items() if mean is not None}

    def seconds(self) -> float | None:
        """Mean time of a prediction."""
        return _mean([result.get("seconds") for results in self.seeds for result in results])


def _organ_mean(results: Sequence[Result], organ: str, convention: str, metric: str) -> float | None:
    """Mean over the cases of one seed."""
    return _mean([value(result, organ, convention, metric) for result in results])


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [number for number in values if number is not None]
    return float(np.mean(defined)) if defined else None


def read_rows(runs: Sequence[str]) -> list[Row]:
    """The rows of runs given as FOLDER or NAME=FOLDER, in the order in which their names first appear.

    NAME, or the folder's name without ``_seedN``, names the row.

    Raises:
        ValueError: a run has no test results, or the seeds of a row were tested on different cases or organs.
    """
    folders: dict[str, list[Path]] = {}
    for run in runs:
        name, _, folder = run.rpartition("=")
        folders.setdefault(name or SEED.sub("", Path(folder).name), []).append(Path(folder))
    return [_row(name, tuple(group)) for name, group in folders.items()]


def _row(name: str, runs: tuple[Path, ...]) -> Row:
    row = Row(name, runs, tuple(tuple(read_results(run)) for run in runs))
    for run, results in zip(row.runs, row.seeds, strict=True):
        tested = [(result["case"], tuple(result["organs"])) for result in results]
        if tested != [(case, row.organs) for case in row.cases]:
            raise ValueError(f"'{run}' was not tested on the cases and organs of '{row.runs[0]}'; one row needs the "
                             "same.")
    return row


def require_same_organs(rows: Sequence[Row]) -> tuple[str, ...]:
    """The organs of all ``rows``.

    Raises:
        ValueError: they differ.
    """
    if any(row.organs != rows[0].organs for row in rows):
        raise ValueError("The runs were tested on different organs; compare runs of one data set.")
    return rows[0].organs


def difference(row: Row, baseline: Row, convention: str) -> Difference:
    """``row`` - ``baseline`` in each case's mean Dice, the seeds averaged first: cases are what is independent.

    Raises:
        ValueError: the rows were tested on different cases.
    """
    ours, theirs = row.case_means(convention, "dice"), baseline.case_means(convention, "dice")
    if set(ours) != set(theirs):
        raise ValueError(f"'{row.name}' and '{baseline.name}' were tested on different cases; compare runs of one data "
                         "set.")
    return paired_difference(list(ours.values()), [theirs[case] for case in ours])
