"""The results table against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.inference.organ_table import organ_table
from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume


def test_rows_follow_the_label_set_and_absent_organs_are_not_found() -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, 0] = 1
    labels[1, 2, :2] = 4
    image = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    grid = Volume(labels, (2.0, 5.0, 10.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    rows = organ_table(grid, get_label_set("chaos_mr"), grid.with_array(image), confidence={"liver": 0.5, "spleen": 1})
    assert [(row.name, row.voxels, row.found) for row in rows] == [
        ("liver", 4, True), ("right_kidney", 0, False), ("left_kidney", 0, False), ("spleen", 2, True)]
    assert [row.volume_ml for row in rows] == [0.4, 0.0, 0.0, 0.2]
    assert [row.mean_intensity for row in rows] == [1.5, None, None, 20.5]
    assert [row.confidence for row in rows] == [0.5, None, None, 1]


def test_only_the_organs_asked_for_have_rows() -> None:
    grid = Volume(np.zeros((1, 1, 1), np.uint8), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    rows = organ_table(grid, get_label_set("chaos_mr"), grid, ["spleen", "liver"])
    assert [row.name for row in rows] == ["liver", "spleen"]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_no_number_is_not_told(value: float) -> None:
    image = np.full((1, 2, 2), value, np.float32)
    grid = Volume(np.ones((1, 2, 2), np.uint8), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    row = organ_table(grid, get_label_set("synapse"), grid.with_array(image), confidence={"spleen": value})[0]
    assert row.found and row.mean_intensity is None and row.confidence is None
