"""Slices that are run: every n-th, and those around what was found."""

from __future__ import annotations

import numpy as np

from SAMoraLib.inference.skim import first_look, near


def _marked(count: int, *numbers: int) -> np.ndarray:
    marks = np.zeros(count, bool)
    marks[list(numbers)] = True
    return marks


def test_every_third_slice_and_what_is_next_to_a_find() -> None:
    everything = np.ones(10, bool)
    assert np.flatnonzero(first_look(everything, 3)).tolist() == [0, 3, 6, 9]
    assert np.flatnonzero(near(_marked(10, 3), 3)).tolist() == [1, 2, 3, 4, 5]


def test_what_is_skimmed_for_a_part_is_what_is_skimmed_for_all() -> None:
    part = np.zeros(20, bool)
    part[7:11] = True
    assert np.flatnonzero(first_look(part, 4)).tolist() == [4, 8, 12]  # all that can speak for slices 7 to 10
