"""Runs become rows: seeds of one name together, means over cases, organs and seeds, undefined numbers left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.refusals import refusal
from Testing.training.reports.result_files import ORGANS, result, write_results
from Training.reports.rows import Row, difference, read_rows, require_same_organs

TWO_SEEDS = Row("row", (Path("a"), Path("b")), (
    (result("x", (0.9, 0.5)), result("y", (0.7, None), seconds=3.0)),
    (result("x", (0.5, None)), result("y", (0.3, None), seconds=None)),
))


def test_a_row_knows_its_organs_and_cases() -> None:
    assert TWO_SEEDS.organs == ORGANS and TWO_SEEDS.cases == ("x", "y")


def test_the_numbers_that_are_defined() -> None:
    assert TWO_SEEDS.values("liver", "strict", "dice") == [0.9, 0.7, 0.5, 0.3]
    assert TWO_SEEDS.values("right_kidney", "strict", "hd95") == [5.0]
    assert TWO_SEEDS.values("right_kidney", "samed", "dice") == [0.05]


def test_an_organs_mean_is_over_the_cases_then_over_the_seeds() -> None:
    assert TWO_SEEDS.organ_mean("liver", "strict", "dice") == pytest.approx((0.8 + 0.4) / 2)
    assert TWO_SEEDS.organ_mean("right_kidney", "strict", "dice") == 0.5  # one case of one seed
    uneven = Row("row", (), ((result("x", (0.9, None)), result("y", (None, None))), (result("x", (0.5, None)),
                                                                                    result("y", (0.3, None)))))
    assert uneven.organ_mean("liver", "strict", "dice") == pytest.approx((0.9 + 0.4) / 2)
    assert uneven.organ_mean("right_kidney", "strict", "dice") is None


def test_a_seeds_mean_is_over_its_organs() -> None:
    assert TWO_SEEDS.seed_means("strict", "dice") == pytest.approx([(0.8 + 0.5) / 2, 0.4])
    nothing = Row("row", (), (*TWO_SEEDS.seeds, (result("x", (None, None)), result("y", (None, None)))))
    assert nothing.seed_means("strict", "nsd") == pytest.approx([0.325, 0.2])


def test_a_cases_mean_is_over_its_organs_then_over_the_seeds() -> None:
    assert TWO_SEEDS.case_means("strict", "dice") == pytest.approx({"x": (0.7 + 0.5) / 2, "y": (0.7 + 0.3) / 2})
    nothing = Row("row", (), ((result("x", (None, None)), result("y", (0.0, 0.0))),))
    assert nothing.case_means("strict", "dice") == {"y": 0.0}


def test_the_time_of_a_prediction() -> None:
    assert TWO_SEEDS.seconds() == pytest.approx((1 + 3 + 1) / 3)
    assert Row("row", (), ((result("x", (0.5, 0.5), seconds=None),),)).seconds() is None


def test_runs_that_differ_in_the_seed_alone_are_one_row(tmp_path: Path) -> None:
    for name in ("b_seed1", "a", "b_seed20", "b_seed3_long", "c"):
        write_results(tmp_path / name, result("x", (0.5, 0.5)))
    runs = [str(tmp_path / name) for name in ("b_seed1", "a", "b_seed20", "b_seed3_long")]
    rows = read_rows([*runs, f"a={tmp_path / 'c'}", f"x=y={tmp_path / 'c'}"])
    assert [(row.name, [run.name for run in row.runs]) for row in rows] == [
        ("b", ["b_seed1", "b_seed20"]), ("a", ["a", "c"]), ("b_seed3_long", ["b_seed3_long"]), ("x=y", ["c"])]
    assert len(rows[0].seeds) == 2 and rows[0].seeds[0][0]["case"] == "x"
    assert read_rows([]) == []


@pytest.mark.parametrize("other", [
    [result("x", (0.5, 0.5))], [result("y", (0.5, 0.5)), result("x", (0.5, 0.5))],
    [result("x", (0.5,), ("liver",)), result("y", (0.5,), ("liver",))],
])
def test_seeds_of_other_cases_or_organs_make_no_row(tmp_path: Path, other: list[dict[str, object]]) -> None:
    one = write_results(tmp_path / "row_seed1", result("x", (0.5, 0.5)), result("y", (0.5, 0.5)))
    two = write_results(tmp_path / "row_seed2", *other)
    said = refusal(lambda: read_rows([str(one), str(two)]))
    assert said.startswith(f"'{two}' was not tested on the cases and organs of '{one}'; one row needs the same")


def test_rows_share_their_organs() -> None:
    other = Row("other", (), ((result("x", (0.5,), ("liver",)),),))
    assert require_same_organs([TWO_SEEDS]) == require_same_organs([TWO_SEEDS, TWO_SEEDS]) == ORGANS
    assert "tested on different organs" in refusal(lambda: require_same_organs([TWO_SEEDS, other]))


def one_seed(**dice: float) -> Row:
    return Row("row", (), (tuple(result(case, (value, value)) for case, value in dice.items()),))


def test_a_difference_pairs_cases_by_their_names() -> None:
    row, turned = one_seed(x=0.9, y=0.8, z=0.4), one_seed(z=0.3, y=0.6, x=0.6)
    found = difference(row, turned, "strict")
    assert found.mean == pytest.approx((0.3 + 0.2 + 0.1) / 3) and found.cases == 3
    assert found.low == pytest.approx(0.2 - 4.302653 * 0.1 / 3**0.5)  # Student's t of 2 degrees of freedom
    assert difference(row, turned, "samed").mean == pytest.approx(0.02)


def test_other_cases_are_not_paired() -> None:
    other = Row("other", (), ((result("x", (0.5, 0.5)), result("z", (0.5, 0.5))),))
    said = refusal(lambda: difference(TWO_SEEDS, other, "strict"))
    assert said.startswith("'row' and 'other' were tested on different cases;")
