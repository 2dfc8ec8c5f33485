"""A models folder full of files that are not what they are called, and how long it takes to list.

``python -m Testing.slicer.hostile_models`` compares it with a folder of as many good models.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from SAMoraLib.card import METADATA_KEY
from SAMoraSlicer.models import FOLDER_VARIABLE, catalogue
from Testing.folders import ROOT
from Testing.slicer.bare_checkpoint import write_checkpoint

HUGE = 12 << 20  # bytes of a header: below what a reader of the format takes
REPEATS = 5


def write_header(path: Path, header: bytes) -> None:
    path.write_bytes(struct.pack("<Q", len(header)) + header)


def write_card(path: Path, card: object) -> None:
    """A checkpoint whose card is this text, or this table with what else a card needs."""
    text = card if isinstance(card, str) else json.dumps(_good_card(path) | dict(card))  # type: ignore[call-overload]
    write_header(path, json.dumps({"__metadata__": {METADATA_KEY: text}}).encode())


def _good_card(path: Path) -> dict[str, object]:
    header = json.loads(write_checkpoint(path).read_bytes()[8:])
    card: dict[str, object] = json.loads(header["__metadata__"][METADATA_KEY])
    return card


def _sparse(path: Path, start: bytes) -> None:
    """A header of many bytes, of which the disk holds the first ones."""
    path.write_bytes(struct.pack("<Q", HUGE) + start)
    os.truncate(path, HUGE + 8)


FILES: dict[str, Callable[[Path], object]] = {
    "noise": lambda path: path.write_bytes(b"\xff" * 1000),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(write_checkpoint(path).read_bytes()[:-5]),
    "pickle": lambda path: path.write_bytes(b"\x80\x02cposix\nsystem\n"),
    "no-card": lambda path: write_header(path, b"{}"),
    "list": lambda path: write_header(path, b"[]"),
    "deep": lambda path: write_header(path, b"[" * 30_000),
    "deep-card": lambda path: write_card(path, "[" * 10_000),
    "many-texts": lambda path: write_header(path, b"[" + b'"",' * 10_000 + b'""]'),
    "many-texts-card": lambda path: write_card(path, "[" + '"",' * 6_000 + '""]'),
    "huge": lambda path: _sparse(path, b"[" * 50_000),
    "huge-nothing": lambda path: _sparse(path, b""),
    "huge-blanks": lambda path: _sparse(path, b'{"__metadata__":{' + b" " * 50_000),
    "no-table": lambda path: write_card(path, "5"),
    "newer": lambda path: write_card(path, {"format_version": 99}),
    "kind": lambda path: write_card(path, {"kind": "none"}),
    "labels": lambda path: write_card(path, {"labels": {"name": "x", "organs": 5}}),
    "preprocessing": lambda path: write_card(path, {"preprocessing": {"modality": "PET"}}),
    "variant": lambda path: write_card(path, {"variant": None}),
    "unknown": lambda path: write_card(path, {"surprise": 1}),
    "base-outside": lambda path: write_card(path, {"base": {"name": "../../secret.safetensors", "sha256": "0" * 64}}),
    "base-list": lambda path: write_card(path, {"base": {"name": "Models.json", "sha256": "0" * 64}}),
    "base-gone": lambda path: write_card(path, {"base": {"name": "gone.safetensors", "sha256": "0" * 64}}),
    "base-itself": lambda path: write_card(path, {"base": {"name": path.name, "sha256": "0" * 64}}),
}
POSIX_FILES: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo if hasattr(os, "mkfifo") else Path.touch,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "gone": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
    "escape\x1b[2J": lambda path: write_checkpoint(path),
    "line\nbreak": lambda path: write_checkpoint(path),
    os.fsdecode(b"no text \xff"): lambda path: write_checkpoint(path),
    "long" * 60: lambda path: path.write_bytes(b"\xff" * 1000),
}


def fill(folder: Path, count: int) -> None:
    """So many files, of every kind in turn, and one that is called as a packaged model, one in place of a folder."""
    write_checkpoint(folder / "ct-abdomen.safetensors")
    (folder / "folder.safetensors").mkdir()
    kinds = list((FILES | (POSIX_FILES if os.name == "posix" else {})).items())
    for number in range(count - 2):
        name, write = kinds[number % len(kinds)]
        write(folder / f"{number // len(kinds)}{name}.safetensors")


def seconds_of(folder: Path, action: Callable[[], object] = catalogue) -> float:
    """The shortest time in which a folder was listed, or the panel opened over it."""
    os.environ[FOLDER_VARIABLE] = str(folder)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def open_panel() -> None:
    from Testing.slicer import harness

    harness.make_widget("SAMora")


def main() -> None:
    from Testing.slicer import harness

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="files (default: %(default)s)")
    count = parser.parse_args().count
    with tempfile.TemporaryDirectory() as place:
        good, hostile = Path(place, "good"), Path(place, "hostile")
        for number in range(count):
            write_checkpoint(good / f"{number}.safetensors")
        hostile.mkdir()
        fill(hostile, count)
        harness.start()
        harness.load_module(ROOT / "SAMora" / "SAMora.py")
        for what, action in (("list", catalogue), ("panel", open_panel)):
            first, second = seconds_of(good, action), seconds_of(hostile, action)
            print(f"{what}: {count} good models {first:.3f} s, as many hostile files {second:.3f} s")


if __name__ == "__main__":
    main()
