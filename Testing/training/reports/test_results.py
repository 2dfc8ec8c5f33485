"""What an evaluation found: its means and its files."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from Testing.refusals import refusal
from Training.evaluate import measure
from Training.reports.results import read_results, summarise, table, to_csv, write_results


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


def test_no_cell_of_the_table_is_a_formula():
    results = [{"case": "=HYPERLINK(A1)", "organs": {"+liver": _row(0.8)}}]
    _, (case, organ, *_) = csv.reader(to_csv(results).splitlines())
    assert (case, organ) == ("'=HYPERLINK(A1)", "'+liver")


def test_written_results_are_read_and_others_refused(tmp_path):
    assert "run Training.evaluate with --output" in refusal(lambda: read_results(tmp_path))
    results = [{"case": "x", "organs": {"liver": _row(0.8)}}]
    write_results(tmp_path / "test", results, {})
    assert read_results(tmp_path) == results
    (tmp_path / "test" / "results.json").write_text('{"results"', encoding="utf-8")
    assert "no file of Training.evaluate" in refusal(lambda: read_results(tmp_path))


WHOLE = {"case": "x", "seconds": 1.5, "organs": {"liver": _row(0.8)}}


@pytest.mark.parametrize(("data", "cause"), [
    ([], "it is a list instead of a table"), ({}, "results is null instead of a list"), ({"results": []}, "it holds"),
    ({"results": {"a": 1}}, "results is a table instead of a list"),
    ({"results": [3]}, "result 0 is 3 instead of a table"),
    ({"results": [WHOLE | {"case": 3}]}, "case of result 0 is 3 instead of text"),
    ({"results": [WHOLE | {"seconds": "1"}]}, "seconds of result 0 is '1' instead of a number"),
    ({"results": [WHOLE | {"organs": ["liver"]}]}, "organs of result 0 is a list instead of a table"),
    ({"results": [WHOLE | {"organs": {}}]}, "result 0 has no organs"),
    ({"results": [{"case": "x"}]}, "organs of result 0"),
    ({"results": [WHOLE, WHOLE | {"organs": {"liver": 3}}]}, "organs of result 1's 'liver' is 3 instead of a table"),
    ({"results": [WHOLE | {"organs": {"liver": {}}}]}, "'liver' of result 0 lacks "),
    ({"results": [WHOLE | {"organs": {"liver": _row(0.8) | {"strict": 3}}}]}, "'strict' of 'liver' of result 0 is 3"),
    ({"results": [WHOLE | {"organs": {"liver": _row(0.8) | {"strict": {"dice": "x"}}}}]}, "'dice' of 'liver' of"),
    ({"results": [WHOLE | {"organs": {"liver": _row(0.8) | {"reference_ml": [1]}}}]}, "'reference_ml' of 'liver' of "),
])
def test_results_of_wrong_types_are_refused_in_a_sentence(tmp_path, data, cause):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "results.json").write_text(json.dumps(data), encoding="utf-8")
    assert f"results.json' is no file of Training.evaluate ({cause}" in refusal(lambda: read_results(tmp_path))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"results": [], "results": []}', '{"results": NaN}', "", "\ufeff"])
def test_results_that_are_hardly_json_too(tmp_path, text):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "results.json").write_text(text, encoding="utf-8")
    assert "is no file of Training.evaluate (" in refusal(lambda: read_results(tmp_path))


def test_a_table_has_mean_and_deviation_of_each_organ_and_the_mean_of_all():
    results = [{"case": "x", "organs": {"liver": _row(0.8, 4.25), "spleen": _row(None, None)}},
               {"case": "y", "organs": {"liver": _row(0.6, 2.25), "spleen": _row(0.5, 1.0)}}]
    header, liver, spleen, mean = [line.split() for line in table(summarise(results)).splitlines()]
    assert header == ["organ", "Dice", "HD95", "(mm)", "NSD", "cases"]
    assert liver == ["liver", "0.700", "+-", "0.100", "3.2", "+-", "1.0", "0.350", "+-", "0.050", "2"]
    assert spleen == ["spleen", "0.500", "+-", "0.000", "1.0", "+-", "0.0", "0.250", "+-", "0.000", "1"]
    assert mean == ["mean", "0.600", "2.1", "0.300"]
    lines = table(summarise(results[:1]), "ma_sam").splitlines()
    assert lines[1].split() == ["liver", "1.000", "+-", "0.000", "-", "+-", "-", "-", "+-", "-", "1"]
    assert {len(line) for line in lines[:3]} == {76}


def test_a_case_may_have_no_time(tmp_path):
    results = [{"case": "x", "seconds": None, "organs": {"liver": _row(0.8)}}, WHOLE]
    write_results(tmp_path / "test", results, {})
    assert [result.get("seconds") for result in read_results(tmp_path)] == [None, 1.5]
