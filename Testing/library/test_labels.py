"""Label sets: numbers, names, terminology."""

from __future__ import annotations

import json

import pytest

from SAMoraLib.labels import LABEL_SETS, ORGANS, LabelSet, Organ, get_label_set, make_label_set, numbered_label_set
from SAMoraLib.volume.io import terminology


def test_synapse_has_the_numbers_that_samed_and_transunet_use() -> None:
    numbers = {label.name: label.value for label in get_label_set("synapse")}
    assert numbers == {"spleen": 1, "right_kidney": 2, "left_kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6,
                       "aorta": 7, "pancreas": 8}


def test_chaos_mr_has_four_organs() -> None:
    assert get_label_set("chaos_mr").names == ("liver", "right_kidney", "left_kidney", "spleen")


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=LABEL_SETS)
def test_values_count_from_one_and_names_are_unique(labels: LabelSet) -> None:
    assert [label.value for label in labels] == list(range(1, len(labels) + 1))
    assert len(set(labels.names)) == len(labels)


@pytest.mark.parametrize("organ", ORGANS.values(), ids=ORGANS)
def test_every_organ_can_be_shown_and_coded(organ) -> None:
    assert organ.title and organ.meaning and organ.code.isdecimal()
    assert len(organ.rgb) == 3 and all(0 <= channel <= 255 for channel in organ.rgb)


def test_sides_are_modifiers_of_one_code() -> None:
    left, right = ORGANS["left_kidney"], ORGANS["right_kidney"]
    assert left.code == right.code == "64033007"
    assert (left.modifier, right.modifier) == (("7771000", "Left"), ("24028007", "Right"))


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=LABEL_SETS)
def test_json_round_trip(labels: LabelSet) -> None:
    assert LabelSet.from_json(json.loads(json.dumps(labels.to_json()))) == labels


def test_a_label_knows_its_organ() -> None:
    label = get_label_set("synapse").by_name("left_kidney")
    assert (label.value, label.title, label.rgb) == (3, "Left kidney", ORGANS["left_kidney"].rgb)


def test_unknown_names_are_answered_with_the_choices() -> None:
    with pytest.raises(ValueError, match=r"'spine'.*liver, right_kidney, left_kidney, spleen\."):
        get_label_set("chaos_mr").by_name("spine")
    with pytest.raises(ValueError, match=r"'btcv'.*synapse, chaos_mr"):
        get_label_set("btcv")


@pytest.mark.parametrize("text", ["left_kidney", "Left kidney", "LEFT KIDNEY", "left-kidney", "leftkidney",
                                  " Left  Kidney "])
def test_an_organ_is_found_as_people_type_it(text: str) -> None:
    assert get_label_set("chaos_mr").find(text).name == "left_kidney"


@pytest.mark.parametrize("labels", LABEL_SETS.values(), ids=LABEL_SETS)
def test_every_title_of_the_table_is_understood(labels: LabelSet) -> None:
    titles = [label.title for label in labels]
    for spelling in (titles, [title.upper() for title in titles], list(labels.names)):
        assert labels.names_of(spelling) == labels.names


def test_an_organ_that_is_named_twice_counts_once() -> None:
    assert get_label_set("chaos_mr").names_of(["spleen", "Liver", "LIVER", "liver"]) == ("spleen", "liver")


@pytest.mark.parametrize(("text", "likely"), [
    ("livr", " (did you mean liver?)"), ("kidney", " (did you mean left_kidney or right_kidney?)"),
    ("Kidney left", " (did you mean left_kidney?)"), ("spine", ""), ("", ""), ("\udcff", "")])
def test_an_unknown_organ_is_answered_with_the_likely_ones(text: str, likely: str) -> None:
    for look_up in (get_label_set("chaos_mr").find, get_label_set("chaos_mr").by_name):
        with pytest.raises(ValueError) as error:
            look_up(text)
        assert str(error.value) == (f"'{text}' is not an organ of this model{likely}; choose from liver, right_kidney, "
                                    "left_kidney, spleen.")


def test_names_that_programs_use_are_exact() -> None:
    with pytest.raises(ValueError, match=r"'Liver' .*did you mean liver\?"):
        get_label_set("chaos_mr").by_name("Liver")


def test_a_name_counts_before_another_organs_title() -> None:
    labels = make_label_set("odd", [Organ("a", "B", (0, 0, 0), "1", "A"), Organ("b", "A", (0, 0, 0), "1", "B")])
    assert [labels.find(text).name for text in ("a", "b", "A", "B")] == ["a", "b", "a", "b"]


def test_an_organ_has_a_name_of_its_own() -> None:
    with pytest.raises(ValueError, match="has the organ 'liver' twice; give every organ a name of its own"):
        make_label_set("three", [ORGANS["aorta"], ORGANS["liver"], ORGANS["liver"]])


def test_own_organs_are_numbered_in_order() -> None:
    labels = make_label_set("two", [ORGANS["aorta"], ORGANS["liver"]])
    assert [(label.value, label.name) for label in labels] == [(1, "aorta"), (2, "liver")]


def test_a_tumour_is_no_anatomical_structure() -> None:
    tumour, liver = get_label_set("liver_tumour").by_name("liver_tumour"), ORGANS["liver"]
    assert "~SCT^49755003^Morphologically Altered Structure~SCT^108369006^Neoplasm~" in terminology(tumour)
    data = get_label_set("liver").to_json()
    del data["organs"][0]["category"]  # cards of before have none
    assert LabelSet.from_json(data).labels[0].organ == liver


def test_classes_that_nobody_named_have_hues_of_equal_distance() -> None:
    """Half saturated, of 85 % brightness: green, blue and red."""
    assert [label.rgb for label in numbered_label_set(3)] == [(108, 217, 108), (108, 108, 217), (217, 108, 108)]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_classes_that_nobody_named(count: int) -> None:
    labels = numbered_label_set(count)
    assert labels.names == tuple(f"class_{number}" for number in range(1, count + 1))
    assert len({label.rgb for label in labels}) == count
    assert all(0 <= part <= 255 for label in labels for part in label.rgb)
    assert LabelSet.from_json(json.loads(json.dumps(labels.to_json()))) == labels
