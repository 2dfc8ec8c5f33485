"""What child programs may say, a JSON object a line: data, which is checked once, here.

What a line lacks, or what is of another type or out of bounds, makes it no event: it is kept with the log.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from SAMoraLib.system.untrusted_json import parse_json

LONGEST_LINE = 1 << 20
LONGEST_TEXT = 2000  # of what is shown
MOST_ORGANS = 1000
LONGEST_TIME, MOST = 1e9, 1e12

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _number(least: float, most: float) -> Check:
    def check(value: Any) -> bool:
        return (isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                and least <= value <= most)
    return check


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_organ(value: Any) -> bool:
    return isinstance(value, dict) and _fits(value, ORGAN)


def _are_organs(value: Any) -> bool:
    return isinstance(value, list) and len(value) <= MOST_ORGANS and all(map(_is_organ, value))


SHARE = _number(0, 1)
ORGAN: dict[str, Check] = {
    "name": _is_text, "title": _is_text, "found": lambda value: isinstance(value, bool), "voxels": _number(0, MOST),
    "volume_ml": _number(0, MOST), "mean_intensity": _or_none(_number(-math.inf, math.inf)),
    "confidence": _or_none(SHARE)}
FIELDS: dict[str, dict[str, Check]] = {
    "ready": {"device": _is_text}, "progress": {"fraction": SHARE, "stage": _is_text}, "notice": {"message": _is_text},
    "error": {"message": _is_text}, "result": {"output": _is_text},
    "devices": {"devices": lambda value: isinstance(value, list)}}
OF_A_VOLUME: dict[str, Check] = {"seconds": _number(0, LONGEST_TIME), "organs": _are_organs}


def read_event(line: str) -> dict[str, Any] | None:
    """The event that a line is; None for any other line."""
    try:
        event = parse_json(line, LONGEST_LINE)
    except ValueError:
        return None
    return _shortened(event) if isinstance(event, dict) and is_event(event) else None


def is_event(event: Mapping[str, Any]) -> bool:
    """Whether an object is an event, with all that belongs to its kind; of kinds that nobody knows nothing is asked."""
    kind, volume = event.get("event"), event.get("volume")
    if not isinstance(kind, str) or not _is_text_or_none(volume):
        return False
    fields = FIELDS.get(kind, {})
    return _fits(event, fields | (OF_A_VOLUME if kind == "result" and volume is not None else {}))


def _fits(data: Mapping[str, Any], fields: Mapping[str, Check]) -> bool:
    return all(name in data and check(data[name]) for name, check in fields.items())


def _shortened(event: dict[str, Any]) -> dict[str, Any]:
    """What is shown is not longer than can be read."""
    return {name: value[:LONGEST_TEXT] if name in ("message", "stage", "device") else value
            for name, value in event.items()}
