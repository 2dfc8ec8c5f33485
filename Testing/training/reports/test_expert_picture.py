"""The picture of what each expert finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume import Volume
from Testing.training.reports.drawn_figures import saved_figures
from Training.reports.expert_picture import RIGHT, WRONG, draw_experts, paint


def test_right_is_green_and_wrong_is_orange() -> None:
    picture = paint(np.array([[0.2, 0.4, 0.6, 0.8]]), np.array([[1, 2, 0, 0]]), np.array([[1, 1, 1, 0]]))
    expected = [0.1 + np.array(RIGHT) / 2, 0.2 + np.array(WRONG) / 2, 0.3 + np.array(WRONG) / 2, [0.8] * 3]
    assert np.allclose(picture[0], expected)


def test_the_slice_with_most_of_the_reference_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    array = np.arange(4 * 6 * 8).reshape(4, 6, 8).astype(np.int16)
    image = Volume(array, (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    reference = np.zeros(array.shape, np.uint8)
    reference[1, 2:4, 2:5] = 1
    reference[2, 2, 2] = 1
    draw_experts(tmp_path / "p.png", image, {"fused": reference, "image": 0 * reference}, reference)
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == ["reference", "fused", "image"]
    shown = [np.asarray(axis.images[0].get_array()) for axis in axes]
    assert np.allclose(shown[0], shown[1]) and not np.allclose(shown[0], shown[2])
    grey = np.clip((array[1] - np.percentile(array, 1)) / (np.percentile(array, 99) - np.percentile(array, 1)), 0, 1)
    assert np.allclose(shown[0], paint(grey, reference[1], reference[1]))
    assert axes[0].get_aspect() == 2
