"""Files that are never half written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` beside ``path`` and move it there: an interruption leaves the old file or the new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | Path, data: Any) -> None:
    """``write_text`` of JSON. NaN and infinities raise a ValueError, as JSON has none."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
