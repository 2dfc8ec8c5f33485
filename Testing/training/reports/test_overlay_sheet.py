"""Best, median and worst case side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from Testing.refusals import refusal
from Training.compare import main
from Training.evaluate import evaluate_cases
from Training.reports.overlay_sheet import COLOURS, best_median_worst, fullest_slice
from Training.reports.results import write_results
from Training.reports.rows import Row


def row(**dice: float) -> Row:
    results = tuple({"case": case, "organs": {"liver": {"strict": {"dice": value}}}} for case, value in dice.items())
    return Row("row", (Path("run"),), (results,))


def test_cases_are_ordered_by_the_mean_of_all_rows() -> None:
    rows = [row(a=0.9, b=0.4, c=0.6, d=0.7, e=0.8), row(a=0.2, b=0.4, c=0.6, d=0.7, e=0.8)]
    assert best_median_worst(rows) == {"e": "best", "c": "median", "b": "worst"}
    assert best_median_worst([row(a=0.9)]) == {"a": "best"}
    assert best_median_worst([row(a=0.9, b=0.8)]) == {"a": "best", "b": "median"}


def test_rows_without_a_common_case_are_refused() -> None:
    assert "share no test case" in refusal(lambda: best_median_worst([row(a=0.9), row(b=0.9)]))


def test_the_slice_shows_small_organs_too() -> None:
    labels = np.zeros((5, 20, 20), dtype=np.uint8)
    labels[1, :15, :] = 1  # most of the liver
    labels[3, :14, :] = 1
    labels[3, 18, :4] = 2
    assert fullest_slice(labels) == 3
    assert fullest_slice(np.zeros((5, 4, 4), dtype=np.uint8)) == 2


@pytest.fixture
def run(cases, tmp_path: Path) -> Path:
    for seed, case in enumerate("abc"):
        _, label = cases.add(case, seed)
    manifest = cases.manifest(tmp_path / "out", test="a,b,c")
    results = evaluate_cases(manifest, "test", lambda image: image.with_array(np.roll(label.array, 3, axis=1)),
                             folder=tmp_path / "run/test/cases")
    write_results(tmp_path / "run/test", results, {})
    return tmp_path / "run"


def test_a_sheet_of_runs_is_drawn_from_their_segmentations(run: Path, tmp_path: Path) -> None:
    main([str(run), "--pictures", str(tmp_path / "pictures"), "--manifest", str(tmp_path / "out/manifest.json")])
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["cases.png", "dice.png", "hd95.png",
                                                                              "nsd.png"]
    picture = imread(tmp_path / "pictures/cases.png")[..., :3]
    for colour in COLOURS[:4]:  # the four organs' patches in the legend
        assert (np.abs(picture - np.array(to_rgb(colour))).max(axis=-1) < 0.02).sum() > 50


def test_a_run_without_segmentations_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (run / "test/cases").glob("*.nii.gz"):
        path.unlink()
    with pytest.raises(SystemExit):
        main([str(run), "--pictures", str(tmp_path / "pictures"), "--manifest", str(tmp_path / "out/manifest.json")])
    assert "kept no segmentation of case" in capsys.readouterr().err
