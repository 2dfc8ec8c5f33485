"""Files that are never half written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from SAMoraLib.whole_file import whole_file


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` beside ``path`` and move it there: an interruption leaves the old file or the new one."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: str | Path, data: Any) -> None:
    """``write_text`` of JSON. NaN and infinities raise a ValueError, as JSON has none."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
