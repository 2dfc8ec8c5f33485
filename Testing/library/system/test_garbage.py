"""Objects made inside are out of the collector's sight; those made later are not."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from SAMoraLib.system.garbage import without_collector


class Node:
    """In a circle with itself, so that the collector alone could free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


def test_only_what_is_made_later_is_searched() -> None:
    with without_collector():
        kept = weakref.ref(Node())
        assert not gc.isenabled()
    assert gc.isenabled()
    freed = weakref.ref(Node())
    gc.collect()
    assert kept() is not None and freed() is None


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ImportError), without_collector():
        raise ImportError
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    with without_collector():
        pass
    assert not gc.isenabled()
