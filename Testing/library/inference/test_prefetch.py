"""The next piece is made while this one is used, in order, and no further ahead."""

from __future__ import annotations

import threading

import pytest

from SAMoraLib.inference.prefetch import prefetched


def test_every_item_comes_once_in_order() -> None:
    assert list(prefetched(lambda number: number**2, range(5))) == [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]
    assert list(prefetched(str, [])) == []


def test_the_next_is_made_while_this_one_is_used() -> None:
    started = [threading.Event() for _ in range(4)]
    for number, _ in prefetched(lambda number: started[number].set(), range(4)):
        assert number == 3 or started[number + 1].wait(5)
        assert not any(event.is_set() for event in started[number + 2:])


def test_an_error_comes_when_its_turn_does() -> None:
    pieces = prefetched(lambda number: 1 // (2 - number), range(4))
    assert [next(pieces), next(pieces)] == [(0, 0), (1, 1)]
    with pytest.raises(ZeroDivisionError):
        next(pieces)


def test_whoever_stops_early_waits_for_one_piece_alone() -> None:
    made: list[int] = []
    pieces = prefetched(made.append, range(100))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert len(made) <= 3
