"""JSON from files that anybody may have written (torch-free): the one reader of cards, lists, requests and manifests.

What Python's own reader lets through and later code stumbles over is refused here, with the cause: too large a text,
too deep nesting, a key that stands twice, numbers that are infinite or none, text that is no Unicode.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

MAX_BYTES = 64 << 20  # the manifest of a hundred thousand volumes has 40 MB
MAX_DEPTH = 32
MAX_INTEGER = 2**63
LONGEST_INTEGER = len(str(-MAX_INTEGER))  # of thousands of digits Python itself would speak
# U+DC80 to U+DCFF stand for bytes of file names that are no text (PEP 383); no other half of a pair means anything.
HALF_OF_A_PAIR = re.compile("[\ud800-\udc7f\udd00-\udfff]")


def read_json(path: str | Path, max_bytes: int = MAX_BYTES) -> Any:
    """What a file of UTF-8 JSON says, a byte order mark before it or not.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular file, or ``parse_json`` refuses it. The text is the cause alone, for the caller's
            sentence.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        return parse_json(file.read(max_bytes + 1), max_bytes)


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """What a text of JSON says: dicts, lists, str, int, finite float, bool and None.

    Raises:
        ValueError: it is not JSON, has over ``max_bytes`` bytes (characters of a str), is nested deeper than
            ``MAX_DEPTH``, repeats a key, or holds a number or a text that nothing can be done with.
    """
    if len(text) > max_bytes:
        raise ValueError(f"it is longer than {max_bytes} bytes")
    if isinstance(text, bytes):
        text = text.decode("utf-8-sig")
    try:
        data = json.loads(text, object_pairs_hook=_table, parse_float=_finite, parse_int=_integer,
                          parse_constant=_constant)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    _check_depth_and_text(data)
    return data


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        times = Counter(key for key, _ in pairs)
        twice = max(times, key=times.__getitem__)
        raise ValueError(f"it has {twice!r:.80} twice")
    return table


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text:.40} is too large a number")
    return number


def _integer(text: str) -> int:
    if len(text) > LONGEST_INTEGER or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"{text:.40} is too large a number")
    return int(text)


def _constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _check_depth_and_text(data: Any) -> None:
    level: list[Any] = [data]
    depth = 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        for text in level:
            if isinstance(text, str) and HALF_OF_A_PAIR.search(text):
                raise ValueError(f"{text!r:.80} is not text")
        level = [item for value in level if isinstance(value, (dict, list)) for item in _items(value)]
        depth += 1


def _items(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return [*value, *value.values()] if isinstance(value, dict) else value
