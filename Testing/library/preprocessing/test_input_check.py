"""What is surely not of a model's kind is refused, what may not be is told, and what is right passes without a word."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.preprocessing import input_check
from SAMoraLib.preprocessing.input_check import SMALL_MM, Greys, WrongInput, check_input
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Testing.folders import SHARED

CT = Preprocessing("CT", "hu_window", -160, 240, "body", 224)
MR = Preprocessing("MR", "percentile", 1, 99, "body", 224)
ANY = Preprocessing("any", "percentile", 1, 99, "body", 224)
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


@pytest.mark.parametrize("preprocessing", [CT, MR, ANY])
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


@pytest.mark.parametrize("change", [lambda hu: hu, ct_like_mr, window(-160, 240, 255), window(-160, 240, 1000),
                                    lambda hu: hu + 1024])
@pytest.mark.parametrize("modality", ["", "CT", "MR"])
def test_a_model_for_any_contrast_takes_both_and_any_greys(modality: str, change: Change) -> None:
    assert verdict(replace(changed(change), modality=modality), ANY) == ("", "", [])


def test_a_model_for_any_contrast_takes_no_other_scans() -> None:
    message, looks_like, _ = verdict(replace(phantom(), modality="PT"), ANY)
    assert not looks_like and message == (
        "'v' is PET by its DICOM header, but the model is for CT and MR; choose a model for PET, or give a CT or an "
        "MR.")


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


# What is measured

PLACE = ((3.0, 3.0, 3.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))


def measured(array: object) -> Greys:
    """Of (D, H, W), or of one row; as coarse as it is measured."""
    values = np.asarray(array)
    return Greys.of(Volume(values.reshape((1,) * (3 - values.ndim) + values.shape), *PLACE))


def test_shares_of_values_leave_their_limits_out() -> None:
    greys = measured([-900.5, -900.5, -701, -700, -250, -249, -21, -20, 0, 349, 350, 700, 700.5, 800, 800.5, 1299.5,
                      1300, 1300, 1300, 1300])
    assert (greys.low, greys.high) == (-900.5, 1300)
    shares = (greys.darkest, greys.air, greys.dark, greys.soft, greys.bright, greys.shifted)
    assert [round(20 * share, 9) for share in shares] == [2, 3, 7, 5, 8, 2]


def test_the_border_is_compared_with_what_is_usual() -> None:
    """10 at the top and the left, 20 at the bottom and the right; what lies within is no part of it."""
    low = -40
    greys = measured([[[10, 10, 10, 10, 10, 10, 10],
                       [10, 30, 30, 30, low, low, 20],
                       [10, 30, 30, 30, -33, low, 20],
                       [10, 30, 30, 30, low, low, 20],
                       [20, 20, 20, 20, 20, 20, 20]]])
    assert greys.usual == (low, 30)
    assert greys.rim == pytest.approx((15 - low) / 70)
    assert greys.ground == pytest.approx(6 / 35)  # -33 is the last that lies within the lowest tenth


def test_one_value_nearly_everywhere_has_a_span() -> None:
    assert measured([*[5] * 299, 5.15]).ground == pytest.approx(299 / 300)


def test_what_pads_is_not_the_deepest() -> None:
    row = [-3000, *[-2000] * 4, *[-1100] * 5, *range(-1000, -900)]
    greys = measured(row)
    assert greys.deep == pytest.approx(np.percentile([-1100] * 5 + list(range(-1000, -900)), 2))
    assert measured([-5, *range(100)]).deep == pytest.approx(1.98) and measured([7, 7]).deep == 7


def test_a_volume_is_measured_on_a_coarse_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every third column, second row, and slice; of these, some are enough for percentiles."""
    array = np.full((3, 8, 12), 9999)
    array[:, ::2, ::3] = np.arange(48).reshape(3, 4, 4)
    volume = Volume(array, (1.0, 1.5, 4.0), *PLACE[1:])
    assert (Greys.of(volume).low, Greys.of(volume).high, Greys.of(volume).darkest) == (0, 47, 1 / 48)
    assert Greys.of(volume).usual == pytest.approx((0.47, 46.765))
    monkeypatch.setattr(input_check, "ENOUGH", 12)
    assert Greys.of(volume).usual == pytest.approx((0.44, 43.78))  # of 0, 4, ... 44


@pytest.mark.parametrize(("row", "labels"), [
    ([0, 1, 1, 1, 1, 1, 1, 2, 0], True), ([0, 1, 1, 1, 1, 1, 2, 0], False), ([0, 1, 0, 1, 0], False),
    ([2, 2, 2, 2], False), ([-1, 1, 1, 1, 1, 1, 1], False), ([0, 2560, 2560], True), ([0, 2561, 2561], False),
    ([0, 1.5, 1.5], False), ([0, 3, 3], True), (np.repeat(range(256), 9), True), (np.repeat(range(257), 9), False)],
    ids=["five-of-six", "four-of-five", "alone", "one-value", "negative", "largest", "larger", "broken", "odd", "256",
         "257"])
def test_labels_are_few_whole_numbers_beside_their_like(row: list[float], labels: bool) -> None:
    assert measured(row).labels is labels


@pytest.mark.parametrize(("place", "slices", "labels"), [((1, 0, 1), 3, False), ((2, 0, 1), 3, False),
                                                         ((1, 0, 0), 32, True), ((2, 0, 1), 32, False)])
def test_labels_are_looked_at_in_sixteen_slices_as_they_are(place: tuple[int, int, int], slices: int, labels: bool
                                                            ) -> None:
    """A broken number between the voxels of the coarse grid."""
    array = np.ones((slices, 2, 8))
    array[:, :, 6:] = 0
    array[place] = 0.5
    assert Greys.of(Volume(array, (1.5, 1.5, 3.0 if slices == 3 else 1.5), *PLACE[1:])).labels is labels


# What follows from it

USUAL = Greys(low=-1000, high=1500, darkest=0.1, air=0.3, dark=0.4, soft=0.3, bright=0.05, shifted=0.01, deep=-990,
              usual=(-1000, 600), ground=0.3, rim=0.0, labels=False)


def judged(monkeypatch: pytest.MonkeyPatch, preprocessing: Preprocessing = CT, **greys: object
           ) -> tuple[str, list[str]]:
    """Why a volume of such greys is refused, and what is told of it."""
    monkeypatch.setattr(Greys, "of", lambda _: replace(USUAL, **greys))
    message, _, told = verdict(phantom(), preprocessing)
    return message, told


INVERTED = {"bright": 0.31, "air": 0.009, "low": -1}
ADDED = {"low": -50, "shifted": 0.11, "soft": 0.43, "high": 1300.5}
NO_FAT = {"dark": 0.0049}
GREYS: dict[str, tuple[dict[str, object], dict[str, object], str]] = {  # refused, just not refused, why
    "span": ({"low": 100, "high": 119.9}, {"low": 100, "high": 120}, "normalised"),
    "largest": ({"low": -19.9, "high": 19.9}, {"low": -19.9, "high": 20}, "normalised"),
    "smallest": ({"low": -19.9, "high": 19.9}, {"low": -20, "high": 19.9}, "normalised"),
    "bright": (INVERTED, INVERTED | {"bright": 0.3}, "inverted"),
    "not bright": (INVERTED, INVERTED | {"air": 0.01}, "inverted"),
    "not negative": (INVERTED, INVERTED | {"low": 0}, "inverted"),
    "added, low": (ADDED, ADDED | {"low": -50.5}, "1000 or 1024 was added"),
    "added, few": (ADDED | {"soft": 0.1}, ADDED | {"shifted": 0.1, "soft": 0.1}, "1000 or 1024 was added"),
    "added, soft": (ADDED, ADDED | {"shifted": 0.12, "soft": 0.48}, "1000 or 1024 was added"),
    "added, high": (ADDED, ADDED | {"high": 1300}, "1000 or 1024 was added"),
    "deep": ({"deep": -1500.5}, {"deep": -1500}, "scaled, or shifted downwards"),
    "fat": (NO_FAT, {"dark": 0.005}, "looks like an MR"),
}


@pytest.mark.parametrize("kind", GREYS)
def test_greys_are_refused_from_their_limit_on(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused, passed, why = GREYS[kind]
    assert why in judged(monkeypatch, **refused)[0]
    assert judged(monkeypatch, **passed) == ("", [])


@pytest.mark.parametrize(("greys", "why"), [
    ({"rim": 0.5}, "an MR"), ({"rim": 0.51}, "inverted"), ({"low": 200}, "an MR"), ({"low": 200.5}, "inverted"),
    ({"low": 0, "high": 255}, "windowed"), ({"low": 0, "high": 255.5}, "an MR"),
    ({"darkest": 0.02, "usual": (-1000, 349)}, "an MR"), ({"darkest": 0.019, "usual": (-1000, 350)}, "an MR")])
def test_what_has_no_fat_is_something_else(greys: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert why in judged(monkeypatch, **NO_FAT | greys)[0]


WITHIN = {"usual": (-100, 50.5), "darkest": 0.05, "ground": 0.16}  # a volume that lies within the body


@pytest.mark.parametrize(("greys", "what"), [
    ({"usual": (-700, 600)}, ""), ({"usual": (-699.5, 600)}, "hardly a value below -700 HU"),
    (WITHIN, ""), (WITHIN | {"darkest": 0.051}, "hardly a value"), (WITHIN | {"usual": (-100, 50)}, "hardly a value"),
    (WITHIN | {"usual": (-150, 350)}, "hardly a value"), (WITHIN | {"usual": (-149.5, 350)}, ""),
    (WITHIN | {"usual": (-50, 350)}, "hardly a value"), (WITHIN | {"usual": (-50.5, 350)}, ""),
    (WITHIN | {"usual": (-50, 350), "ground": 0.15}, ""),
    ({"soft": 0.02}, ""), ({"soft": 0.019}, "hardly any soft tissue"),
    (NO_FAT | {"darkest": 0.019, "usual": (-1000, 349.5)}, "no fat or air"), ({"low": 7, "high": 7}, "7 everywhere")])
def test_greys_are_told_of_from_their_limit_on(greys: dict[str, object], what: str, monkeypatch: pytest.MonkeyPatch
                                               ) -> None:
    message, told = judged(monkeypatch, **greys)
    assert not message and len(told) == bool(what) and what in "".join(told)


@pytest.mark.parametrize(("greys", "refused"), [({"air": 0.021, "low": -900.5}, True), ({"air": 0.02}, False),
                                                ({"air": 0.021, "low": -900}, False)])
def test_much_air_is_a_cts(greys: dict[str, float], refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ("looks like a CT" in judged(monkeypatch, MR, **greys)[0]) is refused


@pytest.mark.parametrize(("spacing", "what"), [((2.0, 3.0, 25.0), ""), ((2.0, 2.95, 12.5), "only 60 x 59 mm"),
                                               ((2.5, 4.0, 5.0), "")])
def test_the_two_longer_sides_show_an_abdomen(spacing: tuple[float, float, float], what: str,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """30 columns, 20 rows, 3 slices: 60 mm are enough."""
    monkeypatch.setattr(Greys, "of", lambda _: USUAL)
    told = verdict(Volume(np.zeros((3, 20, 30), np.int16), spacing, *PLACE[1:]))[2]
    assert len(told) == bool(what) and what in "".join(told)
