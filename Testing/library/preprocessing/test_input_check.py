"""What is surely not of a model's kind is refused, what may not be is told, and what is right passes without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.preprocessing.input_check import SMALL_MM, WrongInput, check_input
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Testing.folders import SHARED

CT = Preprocessing("CT", "hu_window", -160, 240, "body", 224)
MR = Preprocessing("MR", "percentile", 1, 99, "body", 224)
DATA = SHARED / "data"
Change = Callable[[np.ndarray], np.ndarray]


@cache
def phantom(seed: int = 7) -> Volume:
    return make_phantom(seed, (3.0, 3.0, 6.0)).ct


def verdict(volume: Volume, preprocessing: Preprocessing = CT, assume_hu: bool = False) -> tuple[str, str, list[str]]:
    """Why a volume is refused, what it looks like, and what is told of it."""
    told: list[str] = []
    try:
        check_input(volume, "v", preprocessing, told.append, assume_hu)
    except WrongInput as error:
        return str(error), error.looks_like, told
    return "", "", told


def changed(change: Change, seed: int = 7) -> Volume:
    return phantom(seed).with_array(change(phantom(seed).array.astype(np.float64)))


def window(low: float, high: float, white: float) -> Change:
    return lambda hu: ((np.clip(hu, low, high) - low) / (high - low) * white).astype(np.int32)


def ct_like_mr(hu: np.ndarray) -> np.ndarray:
    """Air black with noise, soft tissue grey, fat bright."""
    noise = np.abs(np.random.default_rng(0).normal(0, 8, hu.shape))
    return np.where(hu < -300, 0, np.interp(hu, (-120, -80, 0, 60, 300), (700, 650, 200, 320, 150)) + noise).round()


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 7])
def test_a_ct_passes_without_a_word(seed: int) -> None:
    assert verdict(phantom(seed)) == ("", "", [])
    assert verdict(replace(phantom(seed), modality="CT")) == ("", "", [])


@pytest.mark.parametrize("padding", [-2000, -2048, -3024, -32768, -1024, 0])
def test_padding_outside_a_round_field_of_view_is_usual(padding: int) -> None:
    _, height, width = phantom().array.shape
    y, x = np.ogrid[:height, :width]
    outside = ((y - height / 2) / (height / 2)) ** 2 + ((x - width / 2) / (width / 2)) ** 2 > 1
    array = phantom().array.astype(np.int32)
    array[:, outside] = padding
    array[0, 0, 0] = min(padding, -2100)  # not even always the smallest value
    assert verdict(phantom().with_array(array)) == ("", "", [])


@pytest.mark.parametrize("change", [lambda hu: hu.clip(-1000), lambda hu: hu.clip(-1024, 3071), lambda hu: hu + 100,
                                    lambda hu: hu.astype(np.float32) + 0.25])
def test_what_scanners_and_programs_do_to_a_ct_is_usual(change: Change) -> None:
    assert verdict(changed(change)) == ("", "", [])


def test_a_ct_of_the_body_alone_is_not_refused() -> None:
    """Within the patient there is fat, and no air."""
    middle = phantom().array[10:30, 35:75, 45:90]
    assert middle.min() > -900 or (middle < -700).mean() < 0.1
    assert not verdict(phantom().with_array(np.where(phantom().array < -300, -90, phantom().array)))[0]


REFUSED: dict[str, tuple[Change, str]] = {
    "a mask": (lambda hu: (hu > -300).astype(np.uint8), "label volume"),
    "0 to 1": (lambda hu: (hu + 1024) / 2048, "normalised"),
    "-1 to 1": (lambda hu: hu / 1024, "normalised"),
    "z": (lambda hu: (hu - hu.mean()) / hu.std(), "normalised"),
    "+ 1024": (lambda hu: hu + 1024, "1000 or 1024 was added"),
    "+ 1000": (lambda hu: hu + 1000, "shifted upwards"),
    "+ 1024, unsigned": (lambda hu: (hu + 1024).clip(0), "1000 or 1024 was added"),
    "+ 32768": (lambda hu: hu + 32768, "shifted upwards"),
    "- 1024": (lambda hu: hu - 1024, "shifted downwards"),
    "wrapped": (lambda hu: hu % 65536, "shifted upwards"),
    "8 bits": (window(-160, 240, 255), "windowed"),
    "8 bits of all": (window(-1000, 1000, 255), "windowed"),
    "negative": (lambda hu: -hu, "inverted"),
    "inverted": (lambda hu: 4095 - (hu + 1024), "inverted"),
    "x 10": (lambda hu: hu * 10, "scaled"),
    "x 2": (lambda hu: hu * 2, "scaled"),
    "MR": (ct_like_mr, "looks like an MR"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("seed", [7, 3])
def test_what_surely_is_not_hu_is_refused(kind: str, seed: int) -> None:
    change, why = REFUSED[kind]
    message, looks_like, _ = verdict(changed(change, seed))
    assert why in message and looks_like == ("MR" if kind == "MR" else "")
    assert "--assume-hu" in message and verdict(changed(change, seed), assume_hu=True) == ("", "", [])


@pytest.mark.parametrize("change", [
    lambda hu: hu.clip(-160, 240), lambda hu: hu.clip(-500, 500), lambda hu: hu / 10, lambda hu: (hu / 10).round(),
    lambda hu: hu / 2, lambda hu: hu + 500, lambda hu: np.full_like(hu, -1000)])
def test_what_may_not_be_hu_is_told(change: Change) -> None:
    message, _, told = verdict(changed(change))
    assert not message and len(told) == 1 and "'v'" in told[0]


@pytest.mark.parametrize("preprocessing", [CT, MR])
@pytest.mark.parametrize("times", [1, 20])
def test_a_label_volume_is_refused(preprocessing: Preprocessing, times: int) -> None:
    labels = make_phantom(7, (3.0, 3.0, 6.0)).labels
    assert "is a label volume" in verdict(labels.with_array(labels.array * times), preprocessing)[0]
    assert "is a label volume" in verdict(labels.with_array(labels.array.astype(np.float32)), preprocessing)[0]


@pytest.mark.parametrize(("modality", "preprocessing", "looks_like", "called"), [
    ("MR", CT, "MR", "is MR by its DICOM header"), ("PT", CT, "", "is PET"), ("NM", MR, "", "is a scintigram"),
    ("CT", MR, "CT", "is CT by its DICOM header"), ("XA", CT, "", "is XA")])
def test_another_modality_by_dicoms_word_is_refused(modality: str, preprocessing: Preprocessing, looks_like: str,
                                                    called: str) -> None:
    message, found, _ = verdict(replace(phantom(), modality=modality), preprocessing)
    assert called in message and found == looks_like


def test_who_knows_better_may_say_that_values_are_hu() -> None:
    assert verdict(replace(phantom(), modality="OT"), assume_hu=True) == ("", "", [])
    assert verdict(replace(phantom(), modality="CT"), MR, assume_hu=True)[0]


def test_an_mr_passes_an_mrs_check_and_a_ct_does_not() -> None:
    assert verdict(changed(ct_like_mr), MR) == ("", "", [])
    assert verdict(replace(changed(ct_like_mr), modality="MR"), MR) == ("", "", [])
    message, looks_like, _ = verdict(phantom(), MR)
    assert "looks like a CT" in message and looks_like == "CT"


@pytest.mark.parametrize("assume_hu", [False, True])
def test_a_voxel_size_that_leaves_no_room_for_an_abdomen_is_told(assume_hu: bool) -> None:
    small = replace(phantom(), spacing=(0.3, 0.3, 0.6))
    told = verdict(small, assume_hu=assume_hu)[2]
    assert len(told) == 1 and "check its voxel size" in told[0]
    large = replace(phantom(), spacing=(SMALL_MM / phantom().array.shape[2] * 1.3,) * 2 + (6.0,))
    assert not verdict(large, assume_hu=assume_hu)[2]


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real volumes in a folder 'shared' beside the clone")
@pytest.mark.parametrize("modality", ["ct", "mr"])
def test_real_volumes_pass_their_own_check_alone(modality: str) -> None:
    own, other = (CT, MR) if modality == "ct" else (MR, CT)
    found = sorted(DATA.glob(f"**/{modality}.nii.gz"))
    assert found
    for path in found[:6]:
        volume = read_volume(path)
        assert verdict(volume, own) == ("", "", []), path
        assert verdict(volume, other)[1] == modality.upper(), path
