"""Whether an error says that memory ran out: the one place that knows how libraries say it (torch-free).

None of them has a type for it that all its versions and devices share, and most say it in a RuntimeError's text. What
is asked for while a library is imported comes as an ImportError, or as one that was raised while another was handled.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

PHRASES = re.compile("|".join((
    r"out of memory", r"not enough memory", r"insufficient memory", r"(allocat\w*|get) (\w+ ){0,2}memory",
    r"memory allocation", r"std::bad_alloc", r"bad allocation", r"ALLOC_FAILED", r"alloc_failed", r"OUT_OF_MEMORY",
    r"failed to map segment", r"map segment from shared object", r"cannot create shared object",  # the dynamic loader
    r"could not (create|execute) a (primitive|memory)",  # oneDNN, which gives no cause: here it is memory
)), re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error``, or what led to it, says that memory ran out."""
    return any(_says_so(each) for each in _chain(error))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):  # by its number: a file may bear any name
        return error.errno == errno.ENOMEM
    return isinstance(error, (RuntimeError, ImportError, SystemError)) and PHRASES.search(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised for or while they were handled."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
