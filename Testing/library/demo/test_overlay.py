"""The overlay picture: it shows the organs, in true proportions, for any order of the axes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from SAMoraLib.demo.overlay import write_overlay
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
