"""The card of a checkpoint for a list of many: whatever lies in the folder, little of each file is read (no torch).

A header names every tensor and may have millions of bytes. The card stands before them, because the safetensors package
writes it first; a list reads so far. What is used afterwards is read whole, by ``SAMoraLib.card.read_card``.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

from SAMoraLib.card import MAX_HEADER_BYTES, METADATA_KEY, Card, read_card
from SAMoraLib.system.untrusted_json import parse_json

LISTED_BYTES = 1 << 17  # ours have 3,000, and one of 255 labels 46,000
LENGTH_BYTES = 8  # before a header, and say how long it is
TEXT = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
METADATA = re.compile(rb'\s*\{\s*"__metadata__"\s*:\s*(\{\s*(?:%b\s*:\s*%b\s*(?:,\s*)?)*\})' % (TEXT, TEXT), re.DOTALL)


def listed_card(path: Path) -> Card:
    """The card at the beginning of a checkpoint's header.

    Raises:
        OSError: the file is not there or cannot be opened.
        ValueError: it is no regular file, no safetensors file, its card is damaged, or none stands in the header's
            first bytes.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):  # a pipe would be waited for, a device have no end
        raise ValueError(f"'{path}' is no file; delete it.")
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES + LISTED_BYTES)
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if length <= LISTED_BYTES or length > min(MAX_HEADER_BYTES, facts.st_size - LENGTH_BYTES):
        return read_card(path)  # which reads no more than this, or says what is wrong
    found = METADATA.match(start, LENGTH_BYTES)
    text = _metadata(path, found[1]).get(METADATA_KEY) if found else None
    if not isinstance(text, str):
        raise ValueError(f"'{path}' carries no SAMora card in the first {LISTED_BYTES} bytes of its header, where this "
                         "project's files have it; give a checkpoint of SAMora.")
    return Card.from_json(_metadata(path, text))


def _metadata(path: Path, text: str | bytes) -> dict[str, object]:
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ValueError(f"The card of '{path}' cannot be read ({error}); export the checkpoint again.") from error
    if not isinstance(found, dict):
        raise ValueError(f"The card of '{path}' is no table; export the checkpoint again.")
    return found
