"""What is written on the command line, as values: each refuses its text with an ``argparse.ArgumentTypeError``."""

from __future__ import annotations

import argparse
import math
import operator
from collections.abc import Sequence

from SAMoraLib.volume import Region


def whole_number(text: str) -> int:
    """A number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def gibibytes(text: str) -> float:
    """A size in GiB, above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a size in GiB; give a number above 0")
    return number


def scale_number(text: str) -> float:
    """A number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a scale; give a number above 0")
    return number


def seed_number(text: str) -> int:
    """A number from 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a seed; give a whole number from 0")
    return int(text)


def organ_names(text: str) -> tuple[str, ...]:
    """Names between commas."""
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("no organ is named; give e.g. liver,spleen or leave the option out")
    return names


def with_lists_whole(arguments: Sequence[str], option: str = "--organs") -> list[str]:
    """A command line where ``--organs liver, spleen`` is one value: a comma at a word's end says that more comes."""
    whole: list[str] = []
    listed = False  # whether the last word is the option's value
    for word in arguments:
        if listed and (whole[-1].endswith(",") or word.startswith(",")) and not word.startswith("-"):
            whole[-1] += word
            continue
        listed = word.startswith(f"{option}=") or (bool(whole) and whole[-1] == option)
        whole.append(word)
    return whole


def organ_box(text: str) -> tuple[str, Region]:
    """An organ and its box: NAME=XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX, LPS mm."""
    name, _, numbers = text.partition("=")
    if not name:
        raise argparse.ArgumentTypeError(f"'{text}' names no organ; give e.g. liver=XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX")
    return name, lps_region(numbers)


def lps_region(text: str) -> Region:
    """A box: XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX, LPS mm."""
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    low, high = numbers[::2], numbers[1::2]
    if len(numbers) != 6 or not all(map(math.isfinite, numbers)) or not all(map(operator.lt, low, high)):
        raise argparse.ArgumentTypeError(f"'{text}' is not a region; give six numbers in mm, each minimum below its "
                                         "maximum: XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX")
    return Region.between(low, high)
