"""What the panel remembers as preferences: texts, whatever the settings file says by now."""

from __future__ import annotations

import qt

LONGEST = 100_000


def remembered(name: str, default: str = "") -> str:
    """The text kept under a name; the default where there is none, or something that no text of ours is."""
    value = qt.QSettings().value(name, default)
    return value if isinstance(value, str) and len(value) <= LONGEST and "\0" not in value else default
