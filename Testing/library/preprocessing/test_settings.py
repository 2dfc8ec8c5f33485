"""How a volume becomes slices, as a card says it: what is possible and what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from SAMoraLib.preprocessing.settings import Preprocessing, check_grid
from SAMoraLib.variants import get_variant
from Testing.small import CT


@pytest.mark.parametrize(("change", "message"), [
    ({"modality": "US"}, "Unknown modality 'US'; choose from CT, MR, any."),
    ({"intensity": "none"}, "Unknown intensity 'none'; choose from hu_window, percentile."),
    ({"crop": "organ"}, "Unknown crop 'organ'; choose from none, body."),
    ({"low": 275}, "The intensity range 275..275 is empty; low must be below high."),
    ({"neighbours": -5}, "Neighbouring slices cannot lie -5 mm away; give a distance, or 0 for none."),
])
def test_preprocessing_refuses_impossible_values(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as error:
        replace(CT, **change)
    assert str(error.value) == message


def test_preprocessing_knows_what_samed_does() -> None:
    assert Preprocessing("CT", "hu_window", -125, 275, "none", 512).high == 275


@pytest.mark.parametrize(("change", "message"), [
    ({"rows": "up"}, "Unknown rows 'up'; choose from left, right, posterior, anterior."),
    ({"columns": "down"}, "Unknown columns 'down'; choose from left, right, posterior, anterior."),
    ({"rows": "left"}, "Rows that run to left and columns that run to left span no slice; let one of them run to left"),
    ({"rows": "anterior", "columns": "posterior"}, "Rows that run to anterior and columns that run to posterior span"),
    ({"modality": "any"}, "Grey values of any contrast are no HU to cut a window from; set intensity to percentile."),
    ({"low": 300}, "The intensity range 300..275 is empty"),
    ({"high": float("nan")}, "The intensity range -125..nan is empty"),
    ({"neighbours": -0.5}, "Neighbouring slices cannot lie -0.5 mm away"),
    ({"spacing": -1.0}, "A grid cannot have steps of -1.0 mm"),
    ({"spacing": float("nan")}, "A grid cannot have steps of nan mm"),
    ({"spacing": 0.19}, "A grid of 0.19 mm is finer than any scan"),
    ({"intensity": "percentile", "low": -0.5, "high": 99}, "The percentiles -0.5..99 are not from 0 to 100"),
    ({"intensity": "percentile", "low": 1, "high": 100.5}, "The percentiles 1..100.5 are not from 0 to 100"),
    ({"spacing": 1.0, "neighbours": 3.0}, "A grid of 1.0 mm shows every slice anyway; set neighbours to 0."),
])
def test_what_cannot_be_is_refused_with_what_to_give(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        replace(CT, **change)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize("change", [
    {"low": 274.9}, {"neighbours": 0.0}, {"neighbours": 5.0}, {"spacing": 0.0}, {"spacing": 1.5},
    {"rows": "anterior", "crop": "none"}, {"columns": "right"}, {"rows": "left", "columns": "posterior"},
    {"spacing": 0.2}, {"spacing": 1000.0}, {"neighbours": 0.1},
    {"modality": "MR", "intensity": "percentile", "low": 0, "high": 99},
    {"modality": "MR", "intensity": "percentile", "low": 0, "high": 100}])
def test_what_can_be_goes_through_the_card(change: dict[str, Any]) -> None:
    settings = replace(CT, **change)
    assert Preprocessing(**asdict(settings)) == Preprocessing(**settings.to_json()) == settings


def test_a_card_is_written_as_before_where_columns_run_as_before() -> None:
    assert "columns" not in CT.to_json() and CT.to_json()["rows"] == "posterior"
    assert replace(CT, columns="right").to_json()["columns"] == "right"
    assert CT.orientation == "rows to posterior, columns to left"


def test_a_slice_is_one_channel_and_with_its_neighbours_three() -> None:
    assert CT.channels == 1
    assert replace(CT, neighbours=4.0).channels == 3


def test_left_out_slices_are_taken_as_they_lie_and_downwards_is_posterior() -> None:
    assert (CT.neighbours, CT.spacing, CT.rows, CT.columns) == (0, 0, "posterior", "left")


def test_a_grid_is_for_models_that_slide_over_one() -> None:
    check_grid(get_variant("tp_mamba"), replace(CT, spacing=1.0))
    check_grid(get_variant("tp_mamba"), CT)
    for name in ("samed", "ma_sam", "ma_sam_box"):
        check_grid(get_variant(name), CT)
        with pytest.raises(ValueError, match=f"'{name}' sees slices as they lie, not a grid of 1.5 mm; set the"):
            check_grid(get_variant(name), replace(CT, spacing=1.5))
