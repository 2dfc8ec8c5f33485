"""The walls of the abdomen: layers from the outside inwards, bones and lungs in their places, and a couch."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from SAMoraLib.demo.shapes import Canvas
from SAMoraLib.demo.tissues import STRUCTURE
from SAMoraLib.demo.torso import Cavity
from Testing.library.demo import patients

SEED = patients.WITH_CYSTS
BONES = ("bone_cortex", "bone_marrow")


@cache
def torso(seed: int) -> tuple[Canvas, Cavity]:
    return patients.torso(seed)


def where(*names: str) -> np.ndarray:
    return np.isin(torso(SEED)[0].structures, [STRUCTURE[name] for name in names])


@pytest.mark.parametrize("seed", patients.PATIENTS)
def test_a_seed_is_the_same_patient_in_every_version(seed: int) -> None:
    patients.assert_same_patient(torso(seed)[0].structures, f"torso_{seed}")


def test_inside_the_wall_and_below_the_diaphragm_there_is_room_for_organs() -> None:
    canvas, cavity = torso(SEED)
    inside = (cavity.wall < -10) & (cavity.diaphragm < -10) & (canvas.points.y < 10)
    assert inside.sum() > 20_000
    assert (canvas.structures[inside] == STRUCTURE["visceral_fat"]).mean() > 0.99  # but for the diaphragm's crura


def test_from_the_outside_come_skin_fat_and_muscle() -> None:
    _, cavity = torso(SEED)
    depths = [np.median(cavity.wall[where(name)]) for name in ("skin", "subcutaneous_fat", "muscle")]
    assert depths[0] > depths[1] > depths[2]
    assert not (where("skin") & (cavity.wall < 0)).any()
    for column in torso(SEED)[0].structures[18, :, 25:55].T:
        body = column[column > STRUCTURE["couch"]]
        assert body[0] in (STRUCTURE["skin"], STRUCTURE["subcutaneous_fat"])


def test_lungs_and_heart_lie_above_the_diaphragm_and_within_the_wall() -> None:
    _, cavity = torso(SEED)
    chest = where("lung", "lung_vessel", "heart")
    assert chest.sum() > 1000
    assert (cavity.diaphragm[chest] > 0).all() and (cavity.wall[chest] < 0).all()
    lungs = np.argwhere(where("lung"))[:, 2]
    heart = np.argwhere(where("heart"))[:, 2]
    assert lungs.min() < heart.min() and heart.max() < lungs.max()


def test_the_spinal_canal_runs_through_all_slices_behind_the_vertebrae() -> None:
    canal = where("spinal_canal")
    marrow = where("bone_marrow")
    near_middle = np.zeros_like(marrow)
    near_middle[:, :, 34:47] = True
    for number in range(1, len(canal) - 1):
        assert canal[number].any()
        vertebra = np.argwhere((marrow & near_middle)[number])
        if len(vertebra) > 12:
            assert np.argwhere(canal[number])[:, 0].mean() > vertebra[:, 0].min()


def test_the_couch_lies_behind_the_patient_and_is_a_few_millimetres_thick() -> None:
    couch = where("couch")
    for column in couch.any(axis=0).T:
        rows = np.flatnonzero(column)
        assert len(rows) <= 1  # of 5 mm
    body = np.argwhere(torso(SEED)[0].structures > STRUCTURE["couch"])
    assert np.argwhere(couch[:, :, 40])[:, 1].min() > body[:, 1].max()
