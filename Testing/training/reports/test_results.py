"""What an evaluation found: its means and its files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from Testing.refusals import refusal
from Training.evaluate import measure
from Training.reports.results import read_results, summarise, to_csv, write_results


def _row(dice_value, hd95_value=1.0):
    both = {"dice": dice_value, "hd95": hd95_value, "nsd": None if dice_value is None else dice_value / 2}
    return {"prediction_ml": 1.0, "reference_ml": 2.0, "strict": both,
            "samed": {"dice": dice_value or 0.0, "hd95": 0.0}, "ma_sam": {"dice": 1.0, "hd95": None}}


def test_means_run_over_cases_then_organs_and_leave_out_what_is_undefined():
    results = [{"case": "x", "organs": {"liver": _row(0.8), "spleen": _row(None, None)}},
               {"case": "y", "organs": {"liver": _row(0.6), "spleen": _row(0.5)}}]
    strict = summarise(results)["strict"]
    assert strict["organs"]["liver"]["dice"] == {"mean": pytest.approx(0.7), "std": pytest.approx(0.1), "cases": 2}
    assert strict["organs"]["spleen"]["dice"] == {"mean": 0.5, "std": 0.0, "cases": 1}
    assert strict["mean"]["dice"] == pytest.approx(0.6)
    assert strict["mean"]["nsd"] == pytest.approx(0.3)
    assert strict["cases"]["x"]["dice"] == pytest.approx(0.8)
    assert summarise(results)["samed"]["organs"]["spleen"]["dice"]["mean"] == pytest.approx(0.25)
    assert summarise(results)["ma_sam"]["mean"]["hd95"] is None


def test_an_absent_organ_is_null_in_json_and_empty_in_csv(tmp_path):
    empty = np.zeros((3, 4, 5), dtype=bool)
    row = measure(empty, empty, (1.0, 1.0, 2.0))
    assert row["strict"] == {"dice": None, "hd95": None, "nsd": None}
    results = [{"case": "x", "key": "k", "seconds": 1.0, "organs": {"liver": row}}]
    write_results(tmp_path, results, {"split": "test"})
    assert json.loads((tmp_path / "results.json").read_text())["summary"]["strict"]["mean"]["dice"] is None
    (line,) = csv.DictReader((tmp_path / "results.csv").open(encoding="utf-8"))
    assert line["strict_dice"] == ""
    assert (line["organ"], line["samed_dice"], line["ma_sam_dice"]) == ("liver", "0.0", "1.0")
    assert "strict_nsd" in line
    assert not {"ma_sam_hd95", "samed_nsd"} & set(line)
    assert to_csv(results) == (tmp_path / "results.csv").read_text(encoding="utf-8")


def test_written_results_are_read_and_others_refused(tmp_path):
    assert "run Training.evaluate with --output" in refusal(lambda: read_results(tmp_path))
    results = [{"case": "x", "organs": {"liver": _row(0.8)}}]
    write_results(tmp_path / "test", results, {})
    assert read_results(tmp_path) == results
    (tmp_path / "test" / "results.json").write_text('{"results"', encoding="utf-8")
    assert "no file of Training.evaluate" in refusal(lambda: read_results(tmp_path))
