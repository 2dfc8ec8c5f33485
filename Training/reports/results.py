"""What an evaluation found: per case and organ, its means, and the files that hold them (torch-free)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.system.files import write_json, write_text
from SAMoraLib.system.spreadsheet import cell
from SAMoraLib.system.untrusted_json import read_json
from Training.data.typed import table_of, typed
from Training.reports.metrics import CONVENTIONS, METRICS

Result = dict[str, Any]
COLUMNS = {"mm": METRICS, "voxels": ("dice", "hd95"), None: ("dice",)}  # what a convention measures, by its unit


def summarise(results: Sequence[Result]) -> Result:
    """Means and standard deviations per convention: over the cases for each organ, then over the organs.

    Undefined values are left out; "cases" counts the others.
    """
    return {name: {"hd95_unit": rule.unit, **_summarise_convention(results, name)}
            for name, rule in CONVENTIONS.items()}


def _summarise_convention(results: Sequence[Result], convention: str) -> Result:
    organs = {organ: _summarise_organ(results, organ, convention) for organ in results[0]["organs"]}
    cases, mean = {}, {}
    for result in results:
        cases[result["case"]] = {metric: case_mean(result, convention, metric) for metric in METRICS}
    for metric in METRICS:
        mean[metric] = _statistics([scores[metric]["mean"] for scores in organs.values()])["mean"]
    return {"mean": mean, "organs": organs, "cases": cases}


def _summarise_organ(results: Sequence[Result], organ: str, convention: str) -> Result:
    summary = {}
    for metric in METRICS:
        summary[metric] = _statistics([value(result, organ, convention, metric) for result in results])
    return summary


def value(result: Result, organ: str, convention: str, metric: str) -> float | None:
    """One number of a case; None where it is undefined or was not measured."""
    number: float | None = result["organs"][organ][convention].get(metric)
    return number


def case_mean(result: Result, convention: str, metric: str) -> float | None:
    """Mean over the organs of a case that are defined; None if none is."""
    mean: float | None = _statistics([value(result, organ, convention, metric) for organ in result["organs"]])["mean"]
    return mean


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    if not defined:
        return {"mean": None, "std": None, "cases": 0}
    return {"mean": float(np.mean(defined)), "std": float(np.std(defined)), "cases": len(defined)}


def to_csv(results: Sequence[Result]) -> str:
    """One row per case and organ; undefined values are empty."""
    columns = [(f"{name}_{metric}", name, metric) for name, rule in CONVENTIONS.items()
               for metric in COLUMNS[rule.unit]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "organ", "reference_ml", "prediction_ml", *(column for column, _, _ in columns)])
    for result in results:
        for organ, row in result["organs"].items():
            writer.writerow([cell(result["case"]), cell(organ), row.get("reference_ml"), row.get("prediction_ml"),
                             *(row[name].get(metric) for _, name, metric in columns)])
    return text.getvalue()


def write_results(folder: str | Path, results: Sequence[Result], about: Result) -> Result:
    """Write results.json and results.csv; returns what results.json holds.

    Args:
        about: what was evaluated (checkpoint, split, ...), put first.
    """
    folder = Path(folder)
    whole = {**about, "summary": summarise(results), "results": list(results)}
    write_json(folder / "results.json", whole)
    write_text(folder / "results.csv", to_csv(results))
    return whole


def read_results(run: Path) -> list[Result]:
    """The cases of a run's ``test/results.json``.

    Raises:
        ValueError: there is no such file, or it holds no cases, or something else.
    """
    path = run / "test" / "results.json"
    if not path.is_file():
        raise ValueError(f"'{run}' holds no test results; run Training.evaluate with --output {run / 'test'}.")
    try:
        results = typed(typed(read_json(path), dict, "it").get("results"), list, "results")
        for number, result in enumerate(results):
            require_result(result, f"result {number}")
        if not results:
            raise ValueError("it holds no cases")
    except ValueError as error:
        raise ValueError(f"'{path}' is no file of Training.evaluate ({error}); evaluate '{run}' again.") from error
    return results


def require_result(result: Any, what: str) -> None:
    """Refuse what is not the measured organs of a case; numbers may be missing, which makes them undefined.

    Raises:
        ValueError: the text is the cause alone.
    """
    table = typed(result, dict, what)
    typed(table.get("case"), str, f"case of {what}")
    if table.get("seconds") is not None:
        typed(table["seconds"], float, f"seconds of {what}")
    organs = table_of(table.get("organs"), dict, f"organs of {what}")
    if not organs:
        raise ValueError(f"{what} has no organs")
    for organ, measured in organs.items():
        for name, value in measured.items():
            _require_measured(name, value, f"{organ!r:.60} of {what}")
        if missing := [name for name in CONVENTIONS if name not in measured]:
            raise ValueError(f"{organ!r:.60} of {what} lacks {', '.join(missing)}")


def _require_measured(name: str, value: Any, what: str) -> None:
    """A convention's metrics, or a volume."""
    metrics = typed(value, dict, f"{name!r:.60} of {what}") if name in CONVENTIONS else {name: value}
    for metric, number in metrics.items():
        if number is not None:
            typed(number, float, f"{metric!r:.60} of {what}")


def table(summary: Result, convention: str = "strict") -> str:
    """The summary of one convention as lines of text: organ, Dice, HD95, NSD, each mean and standard deviation."""
    rows = summary[convention]
    unit = rows["hd95_unit"]
    lines = [f"{'organ':<16}{'Dice':>16}{f'HD95 ({unit})':>20}{'NSD':>16}{'cases':>8}"]
    for organ, scores in rows["organs"].items():
        lines.append(f"{organ:<16}{_with_std(scores['dice'], 3):>16}{_with_std(scores['hd95'], 1):>20}"
                     f"{_with_std(scores['nsd'], 3):>16}{scores['dice']['cases']:>8}")
    mean = rows["mean"]
    return "\n".join([*lines, f"{'mean':<16}{number(mean['dice'], 3):>16}{number(mean['hd95'], 1):>20}"
                              f"{number(mean['nsd'], 3):>16}"])


def number(value: float | None, digits: int) -> str:
    """``value`` rounded for a table; a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def _with_std(statistics: Result, digits: int) -> str:
    return f"{number(statistics['mean'], digits)} +- {number(statistics['std'], digits)}"
