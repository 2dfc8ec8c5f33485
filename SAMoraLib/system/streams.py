"""Standard output and standard error that never decide what is done: whatever becomes of a line, the work goes on.

A terminal's code page may lack a name's letters, whoever reads may end early or have closed the stream before, the disk
behind it may be full. None of this is a fault of the work (torch-free).

Nor does what is printed steer the terminal: texts come from files that anybody may have written.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

STANDARD = {"stdin": 0, "stdout": 1, "stderr": 2}
LAYOUT = ("\n", "\t")
UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # control, format, surrogate, private, unassigned, separators
READER_LEFT = (errno.EPIPE, errno.EBADF)  # nobody wants the rest, and nobody needs to be told


class UnfailingStream:
    """A text stream whose writing never raises and never steers a terminal: letters that it cannot say and characters
    that are none are written as ``\\xe9`` or ``\\x1b``, and what it does not take any more is dropped.

    Attributes:
        lost: why a line was dropped, once one was.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.lost: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._try("write", spelt_out(text).encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, name: str, *arguments: Any) -> None:
        if self.lost is None:
            try:
                getattr(self._stream, name)(*arguments)
            except (OSError, ValueError) as error:  # ValueError: it was closed
                self.lost = error
                self._let_the_rest_go()

    def _let_the_rest_go(self) -> None:
        """What Python still holds, and flushes when it ends, would fail again there, with a message and code 120."""
        try:
            number, nowhere = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
        except (OSError, ValueError, AttributeError):
            return  # not one of the process's own: an application's console, or a test's
        os.dup2(nowhere, number)
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def unfailing_streams(printing_is_all: bool = False) -> Iterator[None]:
    """Inside, ``print`` to standard output and standard error never raises; for programs, which call it first, or
    decorate their ``main``.

    Closed streams become open ones that lead nowhere: else the next file that is opened would take their number, and
    a library's warnings would be written into it.

    Args:
        printing_is_all: of a program whose result is what it prints: where that is lost, it ends with exit code 1.
    """
    _fill_closed_numbers()
    before = sys.stdout, sys.stderr
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, UnfailingStream):
            setattr(sys, name, UnfailingStream(stream or _nowhere()))
    try:
        yield
        if printing_is_all and (why := lost_output()):
            raise SystemExit(why)
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def lost_output() -> str | None:
    """A sentence about standard output that could not be written; None where it could, or where its reader had read
    enough.
    """
    sys.stdout.flush()
    error = getattr(sys.stdout, "lost", None)
    if not isinstance(error, OSError) or error.errno in READER_LEFT:
        return None
    return (f"Standard output could not be written ({error.strerror or error}), which result files do not depend on; "
            "make room, or send it elsewhere.")


def spelt_out(text: str) -> str:
    """What a program prints, without what would steer a terminal (escape sequences, C0 and C1) or turn the direction of
    reading. Line ends and tabs stay, and one return to the line's beginning, with which progress bars begin.
    """
    bar = text.startswith("\r")
    parts = re.split("([\n\t])", text[bar:])
    return "\r" * bar + "".join(part if part in LAYOUT else one_line(part) for part in parts)


def one_line(text: str) -> str:
    """Text with names in it, on a line of its own: what would end the line, or steer the terminal, is spelt out."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def is_shown(text: str) -> bool:
    """Whether a name has no letter that steers a line or is none; blanks of every width are letters of names."""
    return not any(unicodedata.category(letter) in UNSEEN for letter in text)


def shortened(text: str, most: int = 400) -> str:
    """On one line, without its middle where it is long: a name or a cause may be a file's own, of any length."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[:most // 2]} ... {line[-most // 2:]}"


def _fill_closed_numbers() -> None:
    for number in STANDARD.values():
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: mostly this one
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
