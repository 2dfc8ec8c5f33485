"""Box plots per organ: a box and its dots where there are numbers, and no file where there are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

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
