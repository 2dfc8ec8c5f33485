"""Runs side by side: seeds of one row together, the gain over a baseline, and the papers' tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from Training.compare import compare, main
from Training.reports.rows import Row, read_rows

ORGANS = ("liver", "right_kidney")


def write_run(folder: Path, *cases: tuple[float, float]) -> Path:
    """A run with these Dice of liver and right kidney, case by case."""
    results = [{"case": str(number), "key": "k", "seconds": 1.0, "organs": {
        organ: {convention: {"dice": value, "hd95": 10 * value, "nsd": value / 2}
                for convention in ("strict", "samed", "ma_sam")} for organ, value in zip(ORGANS, dice, strict=True)}}
        for number, dice in enumerate(cases)]
    (folder / "test").mkdir(parents=True)
    (folder / "test/results.json").write_text(json.dumps({"results": results}), encoding="utf-8")
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_seeds_become_one_row_with_their_spread_and_gain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "samed", (0.9, 0.7), (0.9, 0.9))
    write_run(tmp_path / "samora_seed1", (0.8, 0.6), (0.8, 0.6))
    write_run(tmp_path / "samora_seed2", (0.9, 0.7), (0.9, 0.7))
    runs = sorted(path for path in tmp_path.iterdir())
    lines = said(capsys, *runs, "--baseline", "samed").splitlines()
    assert lines[0].startswith("| run | seeds | liver | right kidney | mean Dice | mean HD95 mm | mean NSD |")
    assert lines[2].startswith("| samed | 1 | 0.900 | 0.800 | **0.850** | 8.5 | 0.425 |")
    assert lines[3].startswith("| samora | 2 | 0.850 | 0.650 | **0.750** ± 0.071 | 7.5 | 0.375 |")
    # cases 0 and 1: 0.75 - 0.80 and 0.75 - 0.90
    assert "| -0.100 [" in lines[3]


def test_latex_has_a_line_per_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, write_run(tmp_path / "a_b", (0.9, 0.7)), "--format", "latex")
    assert r"a\_b & 1 & 0.900" in text and r"\end{table}" in text


def test_a_run_without_results_and_another_data_set_are_refused(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "samed", (0.9, 0.7))
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 2 and "holds no test results" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(run), "--baseline", "unet"])
    assert "The baseline 'unet' is no row; choose from samed." in capsys.readouterr().err


def test_a_run_that_is_no_row_of_the_table_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(write_run(tmp_path / "mine", (0.9, 0.7))), "--paper-table", "4"])
    assert "give runs as NAME=FOLDER with a NAME of h_samora_lac, h_samora_mole" in capsys.readouterr().err
    assert "| 84.34 | 80.00 |" in said(capsys, f"h_samora_hl_attn={tmp_path / 'mine'}", "--paper-table", "4")


def test_other_cases_cannot_be_paired_nor_make_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two, three = write_run(tmp_path / "a", (1, 1), (1, 1)), write_run(tmp_path / "b", (1, 1), (1, 1), (1, 1))
    for arguments, message in (([two, three, "--baseline", "a"], "were tested on different cases"),
                               ([f"row={two}", f"row={three}"], "one row needs the same")):
        with pytest.raises(SystemExit):
            main([str(argument) for argument in arguments])
        assert message in capsys.readouterr().err


def test_our_number_stands_beside_the_printed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "samora_10", (0.9, 0.7))
    (line,) = [line for line in said(capsys, run, "--paper-table", "1").splitlines() if "79.41" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[cells.index("79.41") + 1] == "80.00"


def rows_of(folder: Path, **dice: tuple[tuple[float | None, float | None], ...]) -> list[Row]:
    return read_rows([str(write_run(folder / name, *cases)) for name, cases in dice.items()])


def test_the_baseline_has_no_gain_and_the_others_have_theirs_with_a_p(tmp_path: Path) -> None:
    """Differences of 0.1, 0.2 and 0.3: t is 0.2 / (0.1 / sqrt 3) = 3.4641, of two degrees of freedom."""
    rows = rows_of(tmp_path, a=((0.5, 0.5), (0.5, 0.5), (0.5, 0.5)), b=((0.6, 0.6), (0.7, 0.7), (0.8, 0.8)))
    table = compare(rows, baseline=rows[0])
    assert table.columns[-2:] == ("Dice over a [95 % CI]", "p")
    assert [line[-2:] for line in table.rows] == [("", ""), ("+0.200 [-0.048, +0.448]", "0.074")]
    assert table.notes == ("Paired t-test over 3 cases, seeds averaged first.",)
    assert compare(rows).columns == table.columns[:-2] and compare(rows).notes == ()
    assert compare(rows).rows[1] == ("b", "1", "0.700", "0.700", "**0.700**", "7.0", "0.350")


def test_one_case_has_a_gain_and_no_p(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, a=((0.5, 0.5),), b=((0.6, 0.8),))
    assert compare(rows, baseline=rows[0]).rows[1][-2:] == ("+0.200", "-")


def test_what_was_never_measured_is_a_dash(tmp_path: Path) -> None:
    runs = write_run(tmp_path / "a", (0.5, 0.5)), write_run(tmp_path / "b", (0.5, 0.5))
    for run in runs:
        text = (run / "test/results.json").read_text(encoding="utf-8")
        (run / "test/results.json").write_text(text.replace('"hd95": 5.0', '"hd95": null'), encoding="utf-8")
    assert compare(read_rows([f"x={run}" for run in runs])).rows[0][4:] == ("**0.500** ± 0.000", "-", "0.250")


@pytest.mark.parametrize(("convention", "headings"), [
    ("strict", ("mean Dice", "mean HD95 mm", "mean NSD")), ("samed", ("mean Dice", "mean HD95 voxels")),
    ("ma_sam", ("mean Dice",))])
def test_a_convention_has_its_columns(tmp_path: Path, convention: str, headings: tuple[str, ...]) -> None:
    table = compare(rows_of(tmp_path, a=((0.5, 0.7),)), convention)
    assert table.columns == ("run", "seeds", "liver", "right kidney", *headings)
    assert {len(line) for line in table.rows} == {len(table.columns)}


def test_a_baseline_may_be_named_by_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = write_run(tmp_path / "a", (0.5, 0.5)), write_run(tmp_path / "b", (0.6, 0.6))
    assert "Dice over second" in said(capsys, f"first={runs[0]}", f"second={runs[1]}", "--baseline", runs[1])
    assert "Dice over" not in said(capsys, *runs)


def test_nothing_to_compare_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "No run is given; name folders with test/results.json, or a --paper-table." in capsys.readouterr().err
    assert "79.41" in said(capsys, "--paper-table", "1"), "a paper's table needs none"
