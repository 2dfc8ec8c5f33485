"""Box plots per organ: a box and its dots where there are numbers, and no file where there are none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from matplotlib.patches import PathPatch

from Testing.training.reports.drawn_figures import saved_figures
from Training.reports.box_plots import COLOURS, draw_box_plots
from Training.reports.rows import Row

ORGANS = ("liver", "spleen")


def row(name: str, *dice: float | None) -> Row:
    results = tuple({"case": str(number), "organs": {organ: {"strict": {"dice": value}} for organ in ORGANS}}
                    for number, value in enumerate(dice))
    return Row(name, (Path(name),), (results,))


def pixels_of(path: Path, colour: str) -> int:
    picture = imread(path)[..., :3]
    return int((np.abs(picture - np.array(to_rgb(colour))).max(axis=-1) < 0.02).sum())


def test_each_row_has_its_colour(tmp_path: Path) -> None:
    rows = [row("samed", 0.6, 0.7, 0.9), row("samora", 0.8, None, 0.85)]
    assert draw_box_plots(tmp_path / "dice.png", rows, "dice")
    assert all(pixels_of(tmp_path / "dice.png", colour) > 25 for colour in COLOURS[:2])
    assert pixels_of(tmp_path / "dice.png", COLOURS[2]) == 0


@pytest.mark.parametrize("rows", [1, 7])
def test_any_number_of_rows_is_drawn(tmp_path: Path, rows: int) -> None:
    assert draw_box_plots(tmp_path / "dice.png", [row(f"row{n}", 0.5, 0.6) for n in range(rows)], "dice")


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    assert not draw_box_plots(tmp_path / "nsd.png", [row("samed", 0.6, 0.7)], "nsd")
    assert not list(tmp_path.iterdir())


def test_a_row_without_numbers_is_left_out(tmp_path: Path) -> None:
    assert draw_box_plots(tmp_path / "dice.png", [row("samed", None), row("samora", 0.8)], "dice")


def drawn(folder: Path, monkeypatch: pytest.MonkeyPatch, rows: Sequence[Row], metric: str = "dice",
          convention: str = "strict") -> Any:
    """The figure, as it was saved."""
    figures = saved_figures(monkeypatch)
    assert draw_box_plots(folder / "plot.png", rows, metric, convention)
    return figures[-1]


def boxes(figure: Any) -> list[tuple[tuple[float, float], str | None]]:
    """Of each box where it begins and ends between the organs, and its hatching."""
    patches = [patch for patch in figure.axes[0].patches if isinstance(patch, PathPatch)]
    return [((float(patch.get_path().vertices[:, 0].min()), float(patch.get_path().vertices[:, 0].max())),
             patch.get_hatch()) for patch in patches]


@pytest.mark.parametrize(("rows", "width"), [(1, 2.2 + 2), (2, 2.2 + 2), (3, 2.2 + 2 * 1.26), (6, 2.2 + 2 * 2.52)])
def test_the_picture_grows_with_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int,
                                         width: float) -> None:
    figure = drawn(tmp_path, monkeypatch, [row(f"row{n}", 0.5, 0.6) for n in range(rows)])
    assert figure.get_size_inches() == pytest.approx((width, 4.2)) and figure.dpi == 110
    (legend,) = figure.legends
    assert legend._ncols == min(2, rows) and {text.get_fontsize() for text in legend.get_texts()} == {9}


def test_a_group_of_boxes_stands_around_each_organ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows share 0.8 of the distance between organs; a box takes 0.8 of its row's part."""
    figure = drawn(tmp_path, monkeypatch, [row("samed", 0.6, 0.7, 0.9), row("samora", 0.8, None, 0.85)])
    assert [place for place, _ in boxes(figure)] == [pytest.approx((centre - 0.16, centre + 0.16))
                                                     for centre in (-0.2, 0.8, 0.2, 1.2)]
    dots = [part.get_offsets().tolist() for part in figure.axes[0].collections]
    assert dots[0] == [pytest.approx(dot) for dot in ([-0.28, 0.6], [-0.2, 0.7], [-0.12, 0.9])]
    dot = figure.axes[0].collections[0]
    assert (dot.get_sizes().tolist(), dot.get_linewidth().tolist(), dot.get_zorder()) == ([12], [0.5], 3)
    assert dots[3] == [pytest.approx(dot) for dot in ([1.12, 0.8], [1.28, 0.85])]


def test_the_box_of_one_row_stands_at_its_organ_with_its_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(tmp_path, monkeypatch, [row("samed", 0.6)])
    assert [place for place, _ in boxes(figure)] == [pytest.approx((centre - 0.32, centre + 0.32)) for centre in (0, 1)]
    assert [part.get_offsets().tolist() for part in figure.axes[0].collections] == [[[0, 0.6]], [[1, 0.6]]]


def test_whiskers_reach_the_extremes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = (0.1, 0.5, 0.51, 0.52, 0.53, 0.54, 0.97)
    axis = drawn(tmp_path, monkeypatch, [row("samed", *values)]).axes[0]
    ends = [line.get_ydata() for line in axis.lines if len(set(line.get_xdata())) == 1 and len(line.get_ydata()) == 2]
    assert {0.1, 0.97} < {float(end) for pair in ends for end in pair}


def test_the_seventh_row_has_the_first_colour_hatched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn(tmp_path, monkeypatch, [row(f"row{n}", 0.5, 0.6) for n in range(8)])
    assert [hatch for _, hatch in boxes(figure)] == [None] * 12 + ["//"] * 4
    colours = [part.get_facecolor()[0, :3] for part in figure.axes[0].collections]
    assert np.allclose(colours[::2], [to_rgb(COLOURS[number % 6]) for number in range(8)])


def test_rows_say_how_many_cases_and_seeds_they_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = row("two", 0.5, 0.6)
    rows = [row("one", 0.5), two, replace(two, name="seeds", seeds=two.seeds * 3)]
    (legend,) = drawn(tmp_path, monkeypatch, rows).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "one (1 case)", "two (2 cases)", "seeds (2 cases × 3 seeds)"]  # noqa: RUF001


def test_axes_of_shares_end_at_one_and_those_of_distances_begin_at_zero(tmp_path: Path,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    axis = drawn(tmp_path, monkeypatch, [row("samed", 0.6, 0.8)]).axes[0]
    assert axis.get_xlim() == (-0.5, 1.5) and 0 < axis.get_ylim()[0] < 0.6 and axis.get_ylim()[1] == 1
    assert [label.get_text() for label in axis.get_xticklabels()] == list(ORGANS) and axis.get_ylabel() == "Dice"
    assert [line.get_xdata()[0] for line in axis.lines if line.get_linewidth() == 0.8] == [0.5]
    assert drawn(tmp_path, monkeypatch, [row("samed", 0.0, 0.1)]).axes[0].get_ylim()[0] == 0
    far = Row("samed", (Path("a"),), tuple(({"case": "0", "organs": {organ: {"strict": {"hd95": value}}
                                                                    for organ in ORGANS}},) for value in (20.0, 40.0)))
    axis = drawn(tmp_path, monkeypatch, [far], "hd95").axes[0]
    assert axis.get_ylim()[0] == 0 and axis.get_ylim()[1] > 40 and axis.get_ylabel() == "HD95 (mm)"


def test_a_row_that_found_one_organ_alone_is_named_in_the_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                 ) -> None:
    results = ({"case": "0", "organs": {"liver": {"strict": {"dice": None}}, "spleen": {"strict": {"dice": 0.5}}}},)
    (legend,) = drawn(tmp_path, monkeypatch, [Row("one", (Path("a"),), (results,))]).legends
    assert [text.get_text() for text in legend.get_texts()] == ["one (1 case)"]
