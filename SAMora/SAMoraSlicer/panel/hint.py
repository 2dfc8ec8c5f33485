"""What the panel says: one sentence, and at most one button that helps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from SAMoraLib.system.streams import one_line

# What ends a line, turns the order of letters round or is no letter; not what joins them in Persian or Hindi.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
NO_SPACE = "\u200b"  # is not seen, and no name of a tag begins with it


@dataclass(frozen=True)
class Hint:
    """One state of the panel.

    Attributes:
        button, action: text of the button beside the sentence and what it does; none if nothing is to be done.
        ready: whether Apply would work.
    """

    sentence: str
    button: str = ""
    action: Callable[[], None] | None = None
    ready: bool = False


def plain(text: str) -> str:
    """A text for a tool tip, a message box or whatever else takes for HTML what looks like it: the same to the eye,
    with nothing that is a tag.
    """
    return text.replace("<", f"<{NO_SPACE}").replace("&", f"&{NO_SPACE}")


def short(text: str, most: int = 200) -> str:
    """A text from a file on one line, and no longer than can be read; a page of it would push the rest away."""
    line = CONTROL.sub(lambda found: one_line(found[0]), text[:most + 1])
    return line if len(line) <= most else f"{line[:most]}..."


def megabytes(size: int) -> str:
    """ "4.7 MB", "375 MB", "2.6 GB"."""
    millions = size / 1e6
    if millions >= 1000:
        return f"{millions / 1000:.1f} GB"
    return f"{millions:.1f} MB" if millions < 10 else f"{millions:.0f} MB"


def duration(seconds: float) -> str:
    """ "12 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
