"""Paths whose names are not valid text, for libraries that take UTF-8 alone (torch-free).

On Linux a name is bytes. Python carries those that are no text through (PEP 383), SimpleITK ends the process at them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAND_IN = "volume"  # by which a file or folder is opened whose own name is no text
HEADERS = (".mhd", ".nhdr")  # whose voxels lie in files beside them


def is_text(path: str | Path) -> bool:
    """Whether a library that takes UTF-8 finds this path."""
    try:
        return str(path).encode() == os.fsencode(path)
    except UnicodeEncodeError:
        return False


@contextmanager
def text_path(path: Path) -> Iterator[Path]:
    """A path to the same file or folder that is text, also of the files in the folder: mostly ``path`` itself, else one
    by way of temporary links, with the same ending.

    A file that is not there yet can be written by it, if its own name is text: those of the folders above need not be.

    Raises:
        OSError: the folder cannot be listed, or no link can be made.
    """
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if is_text(path) and all(map(is_text, names)):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="samora-") as place:
        yield _linked_folder(path, names, Path(place)) if names else _linked_file(path, Path(place))


def _linked_folder(folder: Path, names: list[str], place: Path) -> Path:
    for number, name in enumerate(names):
        _link(place / (name if is_text(name) else f"{STAND_IN}_{number}{_ending(name)}"), folder / name)
    return place


def _linked_file(path: Path, place: Path) -> Path:
    if is_text(path.name):
        _link(place / STAND_IN, path.parent)
        return place / STAND_IN / path.name
    if path.name.lower().endswith(HEADERS):
        for beside in path.parent.iterdir():  # by their own bytes, as the header names them
            _link(place / beside.name, beside)
    stand_in = place / f"{STAND_IN}{_ending(path.name)}"
    _link(stand_in, path)
    return stand_in


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.symlink_to(target.absolute(), target_is_directory=target.is_dir())


def _ending(name: str) -> str:
    """At most two of the suffixes, as in ".nii.gz", as far as they are text."""
    *_, last_but_one, last = "", "", *Path(name).suffixes
    if not is_text(last):
        return ""
    return last_but_one + last if is_text(last_but_one) else last
