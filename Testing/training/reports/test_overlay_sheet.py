"""Best, median and worst case side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.refusals import refusal
from Testing.training.conftest import Cases
from Testing.training.reports.drawn_figures import saved_figures, text_sizes
from Training.compare import main
from Training.data.manifest import Manifest
from Training.evaluate import evaluate_cases
from Training.reports import overlay_sheet
from Training.reports.overlay_sheet import (
    COLOURS,
    Panels,
    _box,
    _panels,
    best_median_worst,
    draw_overlay_sheet,
    fullest_slice,
)
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


def test_a_slice_counts_organs_not_voxels() -> None:
    labels = np.zeros((4, 8, 8), dtype=np.uint8)
    labels[0], labels[2, :5], labels[2, 6, 0], labels[1, 0, 0] = 1, 1, 3, 3
    assert fullest_slice(labels) == 2  # 40 / 64 of the first organ and all of the other
    assert fullest_slice(np.zeros((4, 4, 4), dtype=np.uint8)) == 2 and fullest_slice(labels[:1]) == 0


def test_the_margin_is_25_millimetres_of_each_axis_and_ends_at_the_image() -> None:
    mask = np.zeros((100, 90), bool)
    mask[40:44, 50:53] = True
    assert _box(mask, (2.5, 5.0, 9.0)) == (slice(35, 49), slice(40, 63))
    assert _box(mask, (0.5, 0.25, 9.0)) == (slice(0, 144), slice(0, 103))
    mask[1, 3] = True
    assert _box(mask, (25.0, 12.5, 1.0)) == (slice(0, 46), slice(2, 54))
    mask[0, 0] = True
    assert _box(mask, (25.0, 12.5, 1.0))[0] == slice(0, 46)
    assert _box(np.zeros((5, 5), bool), (1, 1, 1)) == (slice(None), slice(None))


def test_a_panels_height() -> None:
    assert Panels(np.zeros((6, 8)), 2.0, []).height == 1.5


@pytest.fixture
def two_rows(tmp_path: Path, cases: Cases) -> tuple[Manifest, list[Row]]:
    """The manifest of two cases, and rows that found the first organ one pixel further, and nothing at all."""
    for seed, case in enumerate("ab"):
        image, label = cases.add(case, seed, numbers=(1, 2))
        for name, found in (("one", np.roll(label.array * (label.array == 1), 1, axis=2)), ("two", label.array * 0)):
            path = tmp_path / name / "test" / "cases" / f"{case}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(image.with_array(found), path)
    rows = [Row(name, (tmp_path / name,), (tuple({"case": case, "organs": {organ: {"strict": {"dice": dice}}
                                                                          for organ in ("liver", "right_kidney")}}
                                                 for case, dice in (("a", 0.25), ("b", 0.5))),))
            for name in ("one", "two")]
    return cases.manifest(tmp_path / "out", test="a,b"), rows


def test_a_line_shows_the_slice_and_all_that_was_found_in_it(two_rows: tuple[Manifest, list[Row]]) -> None:
    manifest, rows = two_rows
    panels = _panels("b", rows, manifest)
    assert panels.picture.shape == (12 + 17 + 1, 48) and panels.aspect == 1  # 25 mm are 17 pixels
    assert [sorted(set(overlay.ravel().tolist())) for overlay in panels.overlays] == [[0, 1, 2], [0, 1], [0]]
    reference, found, _ = panels.overlays
    assert np.array_equal(np.argwhere(found == 1)[0], np.argwhere(reference == 1)[0] + [0, 1])
    assert panels.picture.min() == 0 and panels.picture.max() == 1
    assert panels.picture[0, 0] == 0 and 0.9 < np.median(panels.picture[reference == 1]) <= 1
    assert 0.9 < np.median(panels.picture[4:, 4:44]) < 1
    assert "has no case 'z'" in refusal(lambda: _panels("z", rows, manifest))


@pytest.mark.parametrize("scale", [1, 1e-3])
def test_the_window_spans_the_first_to_the_99th_percentile(tmp_path: Path, scale: float) -> None:
    values = scale * (np.arange(2 * 20 * 25, dtype=np.float32).reshape(2, 20, 25) + 100)
    volume = Volume(values, (2.0, 3.0, 1.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    label = np.zeros(values.shape, np.uint8)
    label[1, 5, 5] = 1
    cases = Cases(tmp_path / "data")
    cases.write("a", volume, volume.with_array(label))
    panels = _panels("a", [], cases.manifest(tmp_path / "out", test="a"))
    low, high = np.percentile(values, (1, 99))
    assert panels.aspect == 1.5
    assert panels.picture.shape == (5 + 8 + 1, 5 + 12 + 1)
    assert np.allclose(panels.picture, np.clip((values[1, :14, :18] - low) / (high - low), 0, 1), atol=1e-5)


def test_the_sheet_has_a_line_for_each_case_and_a_column_for_each_row(
        two_rows: tuple[Manifest, list[Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, rows = two_rows
    figures = saved_figures(monkeypatch)
    draw_overlay_sheet(tmp_path / "cases.png", rows, manifest)
    (figure,) = figures
    height = 30 / 48
    assert figure.get_size_inches() == pytest.approx((4 * 2.6, 2 * (2.6 * height + 0.25) + 0.6)) and figure.dpi == 80
    axes = np.array(figure.axes).reshape(2, 4)
    assert [[axis.get_title() for axis in line] for line in axes] == [
        ["best: case b", "reference", "one: Dice 0.500", "two: Dice 0.500"],
        ["median: case a", "reference", "one: Dice 0.250", "two: Dice 0.250"]]
    assert set(text_sizes(figure).values()) == {10}
    for axis in axes.flat:
        (image,) = axis.images
        assert image.get_clim() == (0, 1) and not axis.axison
    drawn = [[len(axis.collections) for axis in line] for line in axes]
    assert drawn == [[0, 4, 2, 0]] * 2  # a filled organ and its border
    filled, border = axes[0, 2].collections
    assert filled.get_alpha() == overlay_sheet.ALPHA and border.get_linewidth() == pytest.approx(1.2)
    assert filled.levels.tolist() == [0.5, 1.5] and border.levels.tolist() == [0.5]
    assert np.allclose(filled.get_facecolor()[0, :3], to_rgb(COLOURS[0]))
    assert np.allclose(axes[0, 1].collections[2].get_facecolor()[0, :3], to_rgb(COLOURS[1]))


def test_the_legend_names_the_organs_that_were_tested_in_their_colours(monkeypatch: pytest.MonkeyPatch,
                                                                       tmp_path: Path) -> None:
    """Twelve organs of thirteen: eight columns, and the eleventh has the first one's colour again."""
    labels = get_label_set("btcv13")
    tested = labels.names[1:]
    assert len(tested) == 12
    label = np.zeros((1, 4, 26), np.uint8)
    label[0, 1:3, ::2] = np.arange(1, 14)
    panels = Panels(np.zeros((4, 26)), 1.0, [label[0]] * 2)
    monkeypatch.setattr(overlay_sheet, "_panels", lambda *_: panels)
    figures = saved_figures(monkeypatch)
    results = ({"case": "a", "organs": {organ: {"strict": {"dice": 0.5}} for organ in tested}},)
    manifest: Any = Manifest(tmp_path, "CT", labels, {}, ())
    draw_overlay_sheet(tmp_path / "cases.png", [Row("row", (tmp_path,), (results,))], manifest)
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == [label.title for label in labels][1:]
    assert [handle.get_facecolor()[:3] for handle in legend.legend_handles] == [
        to_rgb(COLOURS[number % 10]) for number in range(1, 13)]
    assert legend._ncols == 8
    filled = figures[0].axes[1].collections[::2]
    assert [tuple(part.get_facecolor()[0, :3]) for part in filled] == [
        pytest.approx(to_rgb(COLOURS[number % 10])) for number in range(13)]


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
