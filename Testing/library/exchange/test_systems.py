"""The systems whose files are read and written: which organs, windows and sizes their protocols give them."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.exchange.systems import META_FILES, SYSTEMS
from SAMoraLib.labels import get_label_set, numbered_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.variants import VARIANTS
from SAMoraLib.volume import Volume, to_canonical
from Testing.refusals import refusal
from Testing.small import small_model


@pytest.mark.parametrize(("system", "classes", "name", "expected"), [
    ("samed", 8, None, "synapse"), ("ma_sam", 12, None, "btcv12"), ("ma_sam", 8, None, "classes_8"),
    ("h_sam", 1, "left_atrium", "left_atrium"), ("samed", 13, "btcv13", "btcv13"), ("samed", 2, None, "classes_2"),
])
def test_labels(system: str, classes: int, name: str | None, expected: str) -> None:
    labels = SYSTEMS[system].labels(classes, name)
    assert (labels.name, len(labels)) == (expected, classes)


def test_labels_of_another_number_are_refused() -> None:
    message = refusal(lambda: SYSTEMS["samed"].labels(12, "synapse"))
    assert message.startswith("The label set 'synapse' names 8 organs and the file has 12 classes")


@pytest.mark.parametrize(("system", "name", "classes", "expected"), [
    ("samed", None, 8, ("CT", "hu_window", -125, 275)), ("ma_sam", None, 12, ("CT", "hu_window", -200, 250)),
    ("h_sam", None, 8, ("CT", "hu_window", -125, 275)), ("ma_sam", "prostate", 1, ("MR", "percentile", 0, 99)),
])
def test_preprocessing(system: str, name: str | None, classes: int, expected: tuple[str, str, float, float]) -> None:
    how = SYSTEMS[system].preprocessing(SYSTEMS[system].labels(classes, name), 512)
    assert (how.modality, how.intensity, how.low, how.high) == expected
    assert (how.crop, how.image_size) == ("none", 512)


@pytest.mark.parametrize("key", SYSTEMS)
def test_eight_classes_are_synapses_where_that_is_the_protocol(key: str) -> None:
    labels = SYSTEMS[key].labels(8)
    expected = numbered_label_set(8) if key in ("ma_sam", "samora", "sam_lora") else get_label_set("synapse")
    assert labels == expected


def test_a_label_set_that_is_named_goes_before_the_protocols() -> None:
    assert SYSTEMS["samed"].labels(4, "chaos_mr") == get_label_set("chaos_mr")
    assert SYSTEMS["samed"].labels(8, "synapse").names == get_label_set("synapse").names


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere'"):
        SYSTEMS["samed"].labels(8, "nowhere")


@pytest.mark.parametrize(("key", "window", "rows", "columns"), [
    ("samed", (-125, 275), "anterior", "left"), ("samed_s", (-125, 275), "anterior", "left"),
    ("h_sam", (-125, 275), "anterior", "left"), ("ma_sam", (-200, 250), "posterior", "right"),
    ("sam_lora", (-125, 275), "posterior", "left")])
def test_ct_is_shown_in_the_systems_window_and_orientation(key: str, window: tuple[int, int], rows: str, columns: str
                                                           ) -> None:
    found = SYSTEMS[key].preprocessing(get_label_set("synapse"), 224)
    assert found == Preprocessing("CT", "hu_window", *window, "none", 224, rows=rows, columns=columns)


@pytest.mark.parametrize("labels", ["chaos_mr", "left_atrium", "prostate"])
def test_mr_is_shown_up_to_its_99th_percentile(labels: str) -> None:
    found = SYSTEMS["ma_sam"].preprocessing(get_label_set(labels), 384)
    assert found == Preprocessing("MR", "percentile", 0, 99, "none", 384, rows="anterior", columns="right")


# The published preparations written out: arrays (i, j, k), as nibabel and pynrrd give them -> (k, rows, columns).
PUBLISHED = {
    ("samed", "synapse"): lambda raw: np.transpose(raw, (2, 1, 0)),
    ("samed_s", "synapse"): lambda raw: np.transpose(raw, (2, 1, 0)),
    ("h_sam", "synapse"): lambda raw: np.transpose(raw, (2, 1, 0)),
    ("h_sam", "left_atrium"): lambda raw: np.transpose(raw, (2, 0, 1)),
    ("h_sam", "prostate"): lambda raw: np.transpose(raw, (2, 1, 0)),  # as SimpleITK gives it
    ("ma_sam", "btcv12"): lambda raw: np.moveaxis(np.flip(np.rot90(raw, k=1, axes=(0, 1)), axis=1), 2, 0),
    ("ma_sam", "prostate"): lambda raw: np.moveaxis(np.flip(np.rot90(raw, k=1, axes=(0, 1)), axis=1), 2, 0),
}
LAS, LPS = (1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)  # BTCV's files; DICOM's own


@pytest.mark.parametrize(("key", "labels"), PUBLISHED)
def test_a_model_sees_the_slices_that_its_authors_made(key: str, labels: str) -> None:
    """Array for array, whatever the order in which the same volume is stored."""
    raw = np.random.default_rng(0).uniform(-100, 200, (20, 20, 3)).astype(np.float32)
    how = SYSTEMS[key].preprocessing(get_label_set(labels), 20)
    volume = Volume(raw.transpose(2, 1, 0), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), LPS if how.modality == "MR" else LAS)
    expected = PUBLISHED[key, labels](raw)
    for stored in (volume, to_canonical(volume)[0], to_canonical(volume, "right", "anterior")[0]):
        prepared = prepare_volume(stored, how)
        np.testing.assert_array_equal(prepared.array, expected)
        low, high = prepared.window
        np.testing.assert_allclose(prepared.slices(0, 3)[:, 0], np.clip((expected - low) / (high - low), 0, 1),
                                   atol=1e-6)


def test_what_samed_and_ma_sam_see_of_one_volume_differs_by_half_a_turn() -> None:
    raw = np.random.default_rng(0).uniform(-100, 200, (3, 16, 16)).astype(np.float32)
    volume = Volume(raw, (1.0, 1.0, 3.0), (0.0, 0.0, 0.0), LAS)
    one, other = (prepare_volume(volume, SYSTEMS[key].preprocessing(numbered_label_set(4), 16)).array
                  for key in ("samed", "ma_sam"))
    np.testing.assert_array_equal(one, other[:, ::-1, ::-1])


def test_only_files_with_a_decoder_segment() -> None:
    assert {key for key, system in SYSTEMS.items() if system.is_whole} == {"samed", "samed_s", "h_sam", "ma_sam"}
    keys = SYSTEMS["sam_lora"].own_keys(small_model("samed"))
    assert keys and all(".lora." in key for key in keys)


def test_a_systems_files_hold_what_its_row_trains() -> None:
    for key, system in SYSTEMS.items():
        if system.is_whole:
            assert system.parts == VARIANTS[key].trained and system.variant.name == key
    assert SYSTEMS["h_sam"].variant.cm_attention == "released"
    assert [SYSTEMS[key].image_size for key in ("samed", "samed_s", "h_sam", "ma_sam", "sam_lora")] == [
        512, 512, 224, 512, 1024]


def test_metas_files_are_named_after_their_encoder() -> None:
    assert all(name.startswith(f"sam_{encoder}_") for encoder, name in META_FILES.items())
