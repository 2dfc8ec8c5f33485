"""The organs of the phantom: the same patient for a seed in every version, and nothing painted over walls."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from SAMoraLib.demo.organs import paint_organs
from SAMoraLib.demo.shapes import Canvas
from SAMoraLib.demo.tissues import STRUCTURE
from Testing.library.demo import patients


@cache
def painted(seed: int, grid: tuple[float, float, float] = patients.GRID, all_organs: bool = False) -> Canvas:
    canvas, cavity = patients.torso(seed, grid)
    paint_organs(canvas, cavity, all_organs)
    return canvas


def has_gallbladder(canvas: Canvas) -> bool:
    return bool((canvas.structures == STRUCTURE["gallbladder"]).any())


@pytest.mark.parametrize("seed", patients.PATIENTS)
def test_a_seed_is_the_same_patient_in_every_version(seed: int) -> None:
    patients.assert_same_patient(painted(seed).structures, f"organs_{seed}")


def test_one_patient_in_fifty_has_no_gallbladder_unless_all_organs_are_asked_for() -> None:
    assert not has_gallbladder(painted(patients.WITHOUT_GALLBLADDER))
    assert has_gallbladder(painted(patients.WITHOUT_GALLBLADDER, (8, 8, 16), all_organs=True))
    assert has_gallbladder(painted(patients.WITH_CYSTS))


def test_cysts_lie_within_their_organ() -> None:
    structures = painted(patients.WITH_CYSTS).structures
    for cyst, organ in (("liver_cyst", ("liver", "hepatic_vessel")),
                        ("left_kidney_cyst", ("left_kidney_cortex", "left_kidney_medulla"))):
        places = structures == STRUCTURE[cyst]
        assert places.any()
        touching = np.zeros_like(places)
        for axis, step in ((axis, step) for axis in range(3) for step in (-1, 1)):
            touching |= np.roll(places, step, axis)
        assert np.isin(structures, [STRUCTURE[name] for name in organ])[touching].any()


def test_organs_take_the_room_that_the_walls_left() -> None:
    """Fat inside; the great vessels alone pass through muscle, lung and heart."""
    before, after = patients.kept(f"torso_{patients.WITH_CYSTS}"), painted(patients.WITH_CYSTS).structures
    changed = before != after
    free = [STRUCTURE[name] for name in ("visceral_fat", "muscle", "lung", "heart")]
    assert np.isin(before[changed], free).all()
    vessels = [STRUCTURE[name] for name in ("aorta", "inferior_vena_cava", "oesophagus", "mesenteric_vessel",
                                            "portal_vein", "adrenal", "stomach_wall", "stomach_content", "stomach_gas")]
    assert np.isin(after[changed & (before != STRUCTURE["visceral_fat"])], vessels).all()


def test_gas_in_the_stomach_lies_in_front_of_what_is_fluid() -> None:
    for seed in patients.PATIENTS:
        canvas = painted(seed)
        gas, content = (canvas.points.y[canvas.structures == STRUCTURE[name]]
                        for name in ("stomach_gas", "stomach_content"))
        assert not len(gas) or gas.max() <= content.min() + 1e-3
