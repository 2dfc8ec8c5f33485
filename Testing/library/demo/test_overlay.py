"""The overlay picture: it shows the organs, in true proportions, for any order of the axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from SAMoraLib.demo.overlay import OPACITY, write_overlay
from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SAGITTAL = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def picture(path: Path, labels: np.ndarray, direction: tuple[float, ...] = AXIAL) -> np.ndarray:
    image = Volume(np.zeros(labels.shape, np.int16), (2.0, 2.0, 5.0), (0, 0, 0), direction)
    write_overlay(image, image.with_array(labels), get_label_set("chaos_mr"), path, (-100, 200))
    return imread(path)[..., :3]


def liver_pixels(picture: np.ndarray) -> int:
    red, green, blue = np.moveaxis(picture, -1, 0)
    return int(((red > green + 0.05) & (green > blue)).sum())


def test_an_organ_is_coloured_and_an_empty_result_is_not(tmp_path: Path) -> None:
    labels = np.zeros((10, 30, 40), np.uint8)
    assert liver_pixels(picture(tmp_path / "empty.png", labels)) == 0
    labels[3:7, 10:20, 5:30] = 1
    assert liver_pixels(picture(tmp_path / "liver.png", labels)) > 5000


def test_other_orientations_make_a_picture_too(tmp_path: Path) -> None:
    labels = np.zeros((10, 30, 40), np.uint8)
    labels[3:7, 10:20, 5:30] = 1
    assert liver_pixels(picture(tmp_path / "sagittal.png", labels, SAGITTAL)) > 5000


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """What is drawn, before it becomes pixels."""
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: seen.append(figure))
    return seen


def organs() -> np.ndarray:
    """Liver in slices 3 to 6, largest in slice 5; spleen beside it in slice 4 alone."""
    labels = np.zeros((10, 30, 40), np.uint8)
    labels[3:7, 10:20, 5:20] = 1
    labels[5, 8:24, 5:20] = 1
    labels[4, 12:14, 30:33] = 4
    return labels


def drawn(figures: list[Figure], labels: np.ndarray, grey: np.ndarray | None = None,
          spacing: tuple[float, float, float] = (2.0, 3.0, 5.0), title: str = "") -> Figure:
    grey = np.full(labels.shape, 50, np.int16) if grey is None else grey
    image = Volume(grey, spacing, (0, 0, 0), AXIAL)
    write_overlay(image, image.with_array(labels), get_label_set("chaos_mr"), "picture.png", (-100, 200), title)
    return figures.pop()


def pixels(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes]


def test_each_plane_is_the_one_that_shows_the_most_organs(figures: list[Figure]) -> None:
    """Slice 4 shows two, though 5 shows more liver; of the rows that show two the first, of columns the first."""
    labels = organs()
    views = pixels(drawn(figures, labels))
    axial, coronal, sagittal = (view.max(axis=-1) - view.min(axis=-1) > 0.01 for view in views)
    assert np.array_equal(axial, labels[4] > 0)
    assert np.array_equal(coronal, labels[::-1, 12] > 0)
    assert np.array_equal(sagittal, labels[::-1, :, 5] > 0)


def test_without_organs_the_middle_is_shown(figures: list[Figure]) -> None:
    grey = np.zeros((9, 31, 41), np.int16)
    grey[4], grey[:, 15], grey[:, :, 20] = 50, 50, 50
    for view in pixels(drawn(figures, np.zeros(grey.shape, np.uint8), grey)):
        assert np.allclose(view, 0.5)


def test_planes_stand_upright_in_true_proportions(figures: list[Figure]) -> None:
    grey = np.arange(10, dtype=np.int16)[:, None, None] * np.ones((10, 30, 40), np.int16) * 20
    figure = drawn(figures, organs(), grey)
    assert [axis.get_title() for axis in figure.axes] == ["axial", "coronal", "sagittal"]
    assert [axis.get_aspect() for axis in figure.axes] == [3 / 2, 5 / 2, 5 / 3]
    assert figure.axes[0].get_gridspec().get_width_ratios() == [80, 80, 90]
    _, coronal, sagittal = pixels(figure)
    assert coronal.shape == (10, 40, 3) and sagittal.shape == (10, 30, 3)
    for view in (coronal, sagittal):
        assert view[0, -1, 0] > view[-1, -1, 0], "superior is up"


def test_grey_values_are_shown_in_the_window_and_organs_shine_through(figures: list[Figure]) -> None:
    grey = np.full((10, 30, 40), 50, np.int16)
    grey[4, 0, :4] = -500, -100, 200, 900
    axial = pixels(drawn(figures, organs(), grey))[0]
    assert np.allclose(axial[0, :4], np.array([0, 0, 1, 1])[:, None])
    assert np.allclose(axial[0, 5], 0.5)
    liver = np.array(get_label_set("chaos_mr").by_name("liver").rgb) / 255
    assert np.allclose(axial[12, 10], (1 - OPACITY) * 0.5 + OPACITY * liver)


def test_the_legend_names_the_organs_that_were_found(figures: list[Figure]) -> None:
    legend = drawn(figures, organs(), title="Phantom").legends[0]
    assert [text.get_text() for text in legend.get_texts()] == ["Liver", "Spleen"]
    colours = [tuple(round(255 * part) for part in patch.get_facecolor()[:3]) for patch in legend.get_patches()]
    assert colours == [get_label_set("chaos_mr").by_name(name).rgb for name in ("liver", "spleen")]
    empty = drawn(figures, np.zeros((10, 30, 40), np.uint8), title="Nothing")
    assert not empty.legends[0].get_texts() and "Nothing" in [text.get_text() for text in empty.texts]


def test_the_picture_is_wide_and_black_around_the_planes(tmp_path: Path) -> None:
    found = picture(tmp_path / "picture.png", organs())
    assert found.shape == (550, 1650, 3)
    assert not found[0].any() and not found[:, 0].any()
