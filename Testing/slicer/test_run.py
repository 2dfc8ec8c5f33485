"""How long work will still take, told from how long its first part took."""

from __future__ import annotations

import pytest

from SAMoraSlicer.run import ENOUGH_TO_GUESS, seconds_left, unforeseen


def test_the_rest_takes_as_long_as_its_share() -> None:
    assert seconds_left(0.25, 0.75, 10.0) == 30.0
    assert seconds_left(0.5, 0.5, 12.0) == 12.0
    assert seconds_left(0.5, 0.25, 12.0) == 6.0, "half was done here, a quarter before"


def test_the_end_is_now() -> None:
    assert seconds_left(1.0, 0.0, 60.0) == 0.0


@pytest.mark.parametrize("done", [0.0, 0.999 * ENOUGH_TO_GUESS])
def test_nothing_is_told_before_enough_is_done(done: float) -> None:
    assert seconds_left(done, 1.0 - done, 10.0) is None


def test_what_is_enough_is_told_at_once() -> None:
    assert seconds_left(ENOUGH_TO_GUESS, ENOUGH_TO_GUESS, 10.0) == 10.0


@pytest.mark.parametrize(("error", "said"), [
    (MemoryError(), "Memory ran out while it was read; close other programs or other data, and try again."),
    (TypeError("a\nb"), "Something unforeseen happened while it was read (TypeError: a\\nb); try again, or ask for "
                        "help with the text of 'Copy report'."),
])
def test_what_nobody_foresaw_is_a_sentence(error: Exception, said: str) -> None:
    assert unforeseen(error, "it was read") == said
    assert len(unforeseen(ValueError("x" * 10_000), "it was read")) < 400
