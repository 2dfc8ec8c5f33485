"""What the command line takes as a value, and what it refuses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from SAMoraLib.arguments import (
    gibibytes,
    lps_region,
    organ_box,
    organ_names,
    scale_number,
    seed_number,
    whole_number,
    with_lists_whole,
)
from SAMoraLib.volume import Region


@pytest.mark.parametrize(("parse", "text", "value"), [
    (whole_number, "1", 1), (whole_number, "12", 12), (whole_number, "007", 7),
    (seed_number, "0", 0), (seed_number, "1", 1), (seed_number, "20000", 20000),
    (scale_number, "2", 2.0), (scale_number, "0.25", 0.25),
    (gibibytes, "0.5", 0.5), (gibibytes, "1", 1.0), (gibibytes, "1e-3", 0.001), (gibibytes, "64", 64.0),
    (organ_names, "liver", ("liver",)), (organ_names, " liver , spleen,", ("liver", "spleen")),
])
def test_a_value_is_what_was_written(parse: Callable[[str], Any], text: str, value: Any) -> None:
    assert parse(text) == value


@pytest.mark.parametrize(("parse", "text", "message"), [
    (whole_number, "0", "'0' is not a whole number above 0"), (whole_number, "-1", "not a whole number"),
    (whole_number, "1.5", "not a whole number"), (whole_number, "", "not a whole number"),
    (seed_number, "-1", "'-1' is not a seed; give a whole number from 0"), (seed_number, "x", "not a seed"),
    (scale_number, "0", "'0' is not a scale; give a number above 0"), (scale_number, "inf", "not a scale"),
    (scale_number, "nan", "not a scale"), (scale_number, "-1", "not a scale"), (scale_number, "x", "not a scale"),
    (gibibytes, "0", "'0' is not a size in GiB; give a number above 0"), (gibibytes, "-2", "not a size"),
    (gibibytes, "inf", "not a size"), (gibibytes, "nan", "not a size"), (gibibytes, "two", "not a size"),
    (organ_names, "", "no organ is named"), (organ_names, " , ", "no organ is named"),
    (organ_box, "=0,1,0,1,0,1", "names no organ"), (organ_box, "0,1,0,1,0,1", "is not a region"),
    (organ_box, "liver", "is not a region"),
])
def test_other_text_is_refused_with_what_to_give(parse: Callable[[str], Any], text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        parse(text)


def test_a_region_is_minimum_and_maximum_along_each_axis() -> None:
    assert lps_region("-50,70,-20.5,30,100,160") == Region.between((-50, -20.5, 100), (70, 30, 160))
    assert np.allclose(lps_region("-50,70,-20,30,100,160").centre, (10, 5, 130))


@pytest.mark.parametrize("text", ["", "0,1,0,1,0", "0,1,0,1,0,1,2", "0,1,0,1,0,1,2,3", "0,1,0,1,0,x", "0,0,0,1,0,1",
                                  "0,1,1,0,0,1", "0,1,0,1,2,2", "0,1,0,1,0,inf", "nan,1,0,1,0,1", "1,2,3"])
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a region; give six numbers in mm"):
        lps_region(text)


def test_a_box_is_an_organ_and_a_region() -> None:
    assert organ_box("left_kidney=0,10,0,20,0,30") == ("left_kidney", Region.between((0, 0, 0), (10, 20, 30)))


@pytest.mark.parametrize(("words", "whole"), [
    ("ct.nrrd --organs liver, spleen", ["ct.nrrd", "--organs", "liver,spleen"]),
    ("--organs liver, spleen , aorta ct.nrrd", ["--organs", "liver,spleen,aorta", "ct.nrrd"]),
    ("--organs=liver, spleen ct.nrrd", ["--organs=liver,spleen", "ct.nrrd"]),
    ("--organs liver ,spleen", ["--organs", "liver,spleen"]),
    ("--organs liver, --json", ["--organs", "liver,", "--json"]),
    ("--organs liver ct.nrrd a, b", ["--organs", "liver", "ct.nrrd", "a,", "b"]),
    ("a, b --output c, d", ["a,", "b", "--output", "c,", "d"]), ("--organs", ["--organs"]), ("", [])])
def test_a_list_of_organs_may_have_blanks(words: str, whole: list[str]) -> None:
    assert with_lists_whole(words.split()) == whole
