"""Where files are and will be: which paths lead to one place, and whether a name fits there (torch-free)."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

LONGEST_NAME, LONGEST_PATH = 255, 4095  # bytes, where the system does not say
UNFINISHED = 60  # no less than the name of an unfinished file takes

Identity = tuple[int, int]


def identity(path: Path) -> Identity | None:
    """Device and number of the file that a path leads to, the same by every link and spelling; None where none is."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def first_shared(path: Path, others: Iterable[Path]) -> Path | None:
    """The first of ``others`` that is the same file as ``path``."""
    here = identity(path)
    return next((other for other in others if here is not None and identity(other) == here), None)


def paths_to_one_place(paths: Sequence[Path]) -> tuple[Path, Path] | None:
    """Two of the paths by which one and the same entry of a folder would be written, or None.

    Folders are compared by what the disk says, whatever links lead there, and names as it does: with or without regard
    to capitals.
    """
    seen: dict[tuple[Identity | None, str], list[tuple[str, Path]]] = {}
    for path in paths:
        folder, name = _place(path)
        others = seen.setdefault((identity(folder), _folded(name)), [])
        for other_name, other in others:
            if other_name == name or ignores_capitals(folder):
                return other, path
        others.append((name, path))
    return None


def ignores_capitals(folder: Path) -> bool:
    """Whether the file system finds a folder's files, or where it has none the folder, by other capitals too."""
    try:
        inside = next((entry for entry in folder.iterdir() if entry.name.swapcase() != entry.name), folder.absolute())
    except OSError:
        return False
    other = inside.name.swapcase()
    return other != inside.name and first_shared(inside, [inside.with_name(other)]) is not None


def require_room_for_name(path: Path) -> None:
    """Refuse a file that could not be written, because of its name or where it is to stand.

    Raises:
        ValueError: a name or the whole path is longer than the file system allows; or a file stands in place of a
            folder.
    """
    folder, rest = _place(path)
    if not folder.is_dir():
        raise ValueError(f"'{_shown(str(path))}' cannot be written, because '{folder}' is not a folder; choose another "
                         "output.")
    allowed = _limit(folder, "PC_NAME_MAX", LONGEST_NAME)
    for name in Path(rest).parts:
        if (length := len(os.fsencode(name))) > allowed:
            raise ValueError(f"The name '{_shown(name)}' takes {length} bytes, and the file system allows {allowed}; "
                             "choose a shorter one with the output, or shorten the input's.")
    longest = len(os.fsencode(path.parent)) + max(len(os.fsencode(path.name)), UNFINISHED)
    if longest >= (allowed := _limit(folder, "PC_PATH_MAX", LONGEST_PATH)):
        raise ValueError(f"The path '{_shown(str(path))}' takes {longest} bytes, and the system allows {allowed}; "
                         "choose another folder.")


def _place(path: Path) -> tuple[Path, str]:
    """The innermost folder (or what stands in its place) that is there, and the rest of the path."""
    path = path.absolute()
    folder = next((folder for folder in path.parents if identity(folder) is not None), Path(path.anchor))
    return folder, os.path.normpath(path.relative_to(folder))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _limit(folder: Path, name: str, default: int) -> int:
    try:
        limit = os.pathconf(folder, name)
    except (AttributeError, OSError, ValueError):  # Windows has no such function
        return default
    return limit if limit > 0 else default


def _shown(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most // 2]}...{text[-most // 2:]}"
