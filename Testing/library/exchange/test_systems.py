"""The systems whose files are read and written: which organs, windows and sizes their protocols give them."""

from __future__ import annotations

import pytest

from SAMoraLib.exchange.systems import META_FILES, SYSTEMS
from SAMoraLib.labels import get_label_set, numbered_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import VARIANTS
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
    expected = numbered_label_set(8) if key in ("ma_sam", "sam_lora") else get_label_set("synapse")
    assert labels == expected


def test_a_label_set_that_is_named_goes_before_the_protocols() -> None:
    assert SYSTEMS["samed"].labels(4, "chaos_mr") == get_label_set("chaos_mr")
    assert SYSTEMS["samed"].labels(8, "synapse").names == get_label_set("synapse").names


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(ValueError, match="'nowhere'"):
        SYSTEMS["samed"].labels(8, "nowhere")


@pytest.mark.parametrize(("key", "window", "rows"), [
    ("samed", (-125, 275), "anterior"), ("samed_s", (-125, 275), "anterior"), ("h_sam", (-125, 275), "anterior"),
    ("ma_sam", (-200, 250), "posterior"), ("sam_lora", (-125, 275), "posterior")])
def test_ct_is_shown_in_the_systems_window(key: str, window: tuple[int, int], rows: str) -> None:
    found = SYSTEMS[key].preprocessing(get_label_set("synapse"), 224)
    assert found == Preprocessing("CT", "hu_window", *window, "none", 224, rows=rows)


@pytest.mark.parametrize("labels", ["chaos_mr", "left_atrium", "prostate"])
def test_mr_is_shown_up_to_its_99th_percentile(labels: str) -> None:
    found = SYSTEMS["ma_sam"].preprocessing(get_label_set(labels), 384)
    assert found == Preprocessing("MR", "percentile", 0, 99, "none", 384)


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
