"""Runs side by side: seeds of one row together, the gain over a baseline, and the papers' tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from Training.compare import main

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
