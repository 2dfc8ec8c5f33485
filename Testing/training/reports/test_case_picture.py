"""A case's slices with the contours of what was found and what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from Testing.training.reports.drawn_figures import saved_figures, text_sizes
from Training.reports.case_picture import draw_case, slices_to_show

LIVER = get_label_set("chaos_mr").by_name("liver")


def test_slices_run_from_the_first_to_the_last_that_is_touched():
    prediction, reference = np.zeros((2, 40, 8, 8), dtype=bool)
    prediction[10, 2, 2] = reference[24, 3, 3] = True
    assert slices_to_show({LIVER: (prediction, reference)}) == [10, 12, 14, 16, 18, 20, 22, 24]
    assert slices_to_show({LIVER: (prediction & False, prediction & False)})[0] == 0


def test_draws_prediction_and_reference_in_their_colours(tmp_path):
    reference = np.zeros((4, 32, 32), dtype=bool)
    reference[:, 4:14, 4:14] = True
    prediction = np.zeros_like(reference)
    prediction[:, 18:28, 18:28] = True
    image = Volume(np.zeros(reference.shape, dtype=np.int16), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0),
                   (1, 0, 0, 0, 1, 0, 0, 0, 1))
    image.array[0, 0, 0] = 100
    draw_case(tmp_path / "x.png", "case", image, {LIVER: (prediction, reference)})
    pixels = (imread(tmp_path / "x.png")[..., :3] * 255).round()
    close = np.abs(pixels - np.array(LIVER.rgb)).max(axis=-1) < 12
    assert close.sum() > 300
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_eight_slices_lie_in_two_rows_with_a_contour_of_each_mask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                  ) -> None:
    """Seen from the feet on, however the volume lies in its file."""
    array = np.arange(16 * 20 * 30, dtype=np.float32).reshape(16, 20, 30)
    image = Volume(array, (2.0, 3.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    prediction, reference = np.zeros((2, *array.shape), dtype=bool)
    prediction[0, 2:5, 2:5] = reference[:15, 8:12, 8:12] = True
    figures = saved_figures(monkeypatch)
    draw_case(tmp_path / "x.png", "case x", image, {LIVER: (prediction, reference)})
    (figure,) = figures
    assert figure.get_size_inches().tolist() == [12, 6.5] and figure.dpi == 100
    assert text_sizes(figure) == {"case x: reference white, prediction coloured": 10} | {
        f"slice {number}": 8 for number in range(1, 16, 2)}
    last = figure.axes[-1]
    assert np.array_equal(last.images[0].get_array(), array[0]) and last.get_aspect() == 1.5 and not last.axison
    assert last.images[0].get_clim() == pytest.approx(tuple(np.percentile(array, (1, 99))))
    assert [len(axis.collections) for axis in figure.axes] == [1] * 7 + [2]
    white, coloured = last.collections
    assert white.get_linewidth() == pytest.approx(1.6) and coloured.get_linewidth() == pytest.approx(1.0)
    assert white.levels.tolist() == coloured.levels.tolist() == [0.5]
    assert np.allclose(white.get_edgecolor()[0, :3], 1)
    assert np.allclose(coloured.get_edgecolor()[0, :3], np.array(LIVER.rgb) / 255)
