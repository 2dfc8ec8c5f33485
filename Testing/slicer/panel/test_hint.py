"""Sizes and times as people read them."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def hint(slicer_app: Any) -> Any:
    import SAMoraSlicer.panel.hint

    return SAMoraSlicer.panel.hint


@pytest.mark.parametrize(("size", "said"), [
    (0, "0.0 MB"), (4_700_000, "4.7 MB"), (9_940_000, "9.9 MB"), (10_000_000, "10 MB"), (10_400_000, "10 MB"),
    (375_400_000, "375 MB"), (999_400_000, "999 MB"), (1_000_000_000, "1.0 GB"), (1_000_400_000, "1.0 GB"),
    (2_560_000_000, "2.6 GB"),
])
def test_sizes_have_as_many_digits_as_people_care_for(hint: Any, size: int, said: str) -> None:
    assert hint.megabytes(size) == said


@pytest.mark.parametrize(("seconds", "said"), [
    (0.0, "1 s"), (1.4, "1 s"), (12.0, "12 s"), (89.9, "90 s"), (90.0, "2 min"), (90.6, "2 min"), (180.0, "3 min"),
    (89 * 60.0, "89 min"), (90 * 60.0, "1 h 30 min"), (125 * 60.0, "2 h 5 min"), (7200.0, "2 h 0 min"),
])
def test_times_are_told_in_the_unit_in_which_they_are_short(hint: Any, seconds: float, said: str) -> None:
    assert hint.duration(seconds) == said


def test_a_hint_is_a_sentence_and_offers_nothing_unless_it_is_told_to(hint: Any) -> None:
    plain = hint.Hint("Choose a volume.")
    assert (plain.sentence, plain.button, plain.action, plain.ready) == ("Choose a volume.", "", None, False)


@pytest.mark.parametrize(("text", "said"), [
    ("Leber 腹部", "Leber 腹部"), ("x" * 10, "x" * 10), ("x" * 11, "x" * 10 + "..."),
    ("x" * 10_000_000, "x" * 10 + "..."),
    ("a\nb", r"a\nb"), ("\u06a9\u200c\xa0b", "\u06a9\u200c\xa0b"), ("a\u202eb", r"a\u202eb"), ("\udcff", r"\udcff"),
    ("\n" * 100, r"\n\n\n\n\n..."), ("", "")])
def test_a_text_from_a_file_is_one_line_that_can_be_read(hint: Any, text: str, said: str) -> None:
    assert hint.short(text, 10) == said


def test_a_text_has_up_to_200_letters_if_nothing_else_is_said(hint: Any) -> None:
    assert hint.short("x" * 200) == "x" * 200 and hint.short("x" * 201) == "x" * 200 + "..."


def test_what_looks_like_a_tag_is_none(hint: Any) -> None:
    assert hint.plain("<b>a</b> &amp; 1 > 0") == "<\u200bb>a<\u200b/b> &\u200bamp; 1 > 0"
