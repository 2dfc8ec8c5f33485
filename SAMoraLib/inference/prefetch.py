"""The next piece of work in a thread, while this one is used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def prefetched(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
    """Each item with what ``make`` makes of it, in order; an exception of ``make`` comes when its item's turn does, and
    nothing that is not begun by then is made.
    """
    thread = ThreadPoolExecutor(1)
    try:
        made: tuple[Item, Future[Made]] | None = None
        for item in items:
            following = item, thread.submit(make, item)
            if made is not None:
                yield made[0], made[1].result()
            made = following
        if made is not None:
            yield made[0], made[1].result()
    finally:
        thread.shutdown(cancel_futures=True)
