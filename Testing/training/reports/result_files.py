"""Results as an evaluation keeps them, of two organs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ORGANS = ("liver", "right_kidney")


def result(case: str, dice: Sequence[float | None], organs: Sequence[str] = ORGANS, seconds: float | None = 1.0,
           ) -> dict[str, Any]:
    """A case with this Dice of each organ; HD95 ten times, NSD half of it; the other conventions a tenth of all."""
    measured = {}
    for organ, value in zip(organs, dice, strict=True):
        strict = dict.fromkeys(("dice", "hd95", "nsd")) if value is None else {
            "dice": value, "hd95": 10 * value, "nsd": value / 2}
        others = {metric: None if number is None else number / 10 for metric, number in strict.items()}
        measured[organ] = {"strict": strict, "samed": others, "ma_sam": others}
    timed = {} if seconds is None else {"seconds": seconds}
    return {"case": case, "organs": measured} | timed


def write_results(run: Path, *results: dict[str, Any]) -> Path:
    """The run's ``test/results.json``; returns the run."""
    (run / "test").mkdir(parents=True)
    (run / "test" / "results.json").write_text(json.dumps({"results": results}), encoding="utf-8")
    return run
