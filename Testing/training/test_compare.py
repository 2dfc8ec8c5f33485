"""Runs side by side: seeds of one row together, and no row of another data set between them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from Training.compare import compare, main


def write_results(folder: Path, dice: dict[str, float]) -> Path:
    organs = {organ: {"dice": {"mean": value, "std": 0.0, "cases": 3}} for organ, value in dice.items()}
    mean = {"dice": sum(dice.values()) / len(dice), "hd95": 10 * dice["liver"]}
    (folder / "test").mkdir(parents=True)
    (folder / "test/results.json").write_text(json.dumps({"summary": {"strict": {"organs": organs, "mean": mean}}}))
    return folder


def test_seeds_become_one_row_with_their_spread(tmp_path: Path) -> None:
    runs = [write_results(tmp_path / "samed", {"liver": 0.9, "right_kidney": 0.8}),
            write_results(tmp_path / "samora_seed1", {"liver": 0.8, "right_kidney": 0.6}),
            write_results(tmp_path / "samora_seed2", {"liver": 0.9, "right_kidney": 0.7})]
    assert compare(runs).splitlines() == [
        "| run | seeds | liver | right kidney | mean Dice | mean HD95 mm |",
        "|---|---|---|---|---|---|",
        "| samed | 1 | 0.900 | 0.800 | **0.850** | 9.0 |",
        "| samora | 2 | 0.850 | 0.650 | **0.750** ± 0.071 | 8.5 |",
    ]


def test_a_run_without_results_and_another_data_set_are_refused(tmp_path: Path,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    run = write_results(tmp_path / "samed", {"liver": 0.9})
    other = write_results(tmp_path / "other", {"liver": 0.9, "spleen": 0.8})
    with pytest.raises(ValueError, match="different organs"):
        compare([run, other])
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path)])
    assert stopped.value.code == 2 and "holds no test results" in capsys.readouterr().err
