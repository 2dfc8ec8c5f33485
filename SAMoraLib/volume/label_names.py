"""What label files are called: after what was given, each by a name of its own."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from SAMoraLib.volume.io import READABLE

SUFFIX = "_segmentation"
FOLDS_CAPITALS = sys.platform in ("win32", "darwin")


def label_paths(inputs: Sequence[Path], folder: Path, ending: str) -> list[Path]:
    """A label file in ``folder`` for every input: NAME_segmentation and ``ending``.

    NAME is what the input is called where it was given, also where that is a link. Inputs of one name are told apart by
    the folders in which they were given: 31_mr and 32_mr for 31/mr.nii.gz and 32/mr.nii.gz.

    Raises:
        ValueError: an input is given twice, or two of one name lie in one folder.
    """
    return [folder / f"{name}{SUFFIX}{ending}" for name in own_names(inputs)]


def own_names(inputs: Sequence[Path]) -> list[str]:
    """The inputs' names without their endings, with as many folders before those of one name as tell them apart.

    Raises:
        ValueError: as ``label_paths``.
    """
    places = [_place(path) for path in inputs]
    _refuse_one_place(inputs, places)
    groups = [_key(place[-1]) for place in places]
    sizes, folders = Counter(groups), dict.fromkeys(groups, 0)
    for _ in range(1 + max(map(len, places), default=0)):
        names = [_joined(place, folders[group]) for place, group in zip(places, groups, strict=True)]
        counts = Counter(map(_key, names))
        shared = {group for name, group in zip(names, groups, strict=True) if counts[_key(name)] > 1}
        if not shared:
            break
        for group in shared:
            folders[group] += sizes[group] > 1
    return names


def stem(path: Path) -> str:
    """File name without its volume ending, or a folder's own name, as it was given: a link's is not its target's."""
    name = path.name if path.name not in ("", "..") else path.resolve().name
    ending = next((ending for ending in sorted(READABLE, key=len, reverse=True) if name.lower().endswith(ending)), "")
    return name[:len(name) - len(ending)]


def _place(path: Path) -> tuple[str, ...]:
    """The names of the folders, from the root inwards, and the stem."""
    return (*_absolute(path).parent.parts[1:], stem(path))


def _absolute(path: Path) -> Path:
    """Without "..", and links as they are."""
    return Path(os.path.normpath(path.absolute()))


def _refuse_one_place(inputs: Sequence[Path], places: Sequence[tuple[str, ...]]) -> None:
    seen: dict[str, Path] = {}
    for path, place in zip(inputs, places, strict=True):
        key = _key("/".join(place))
        if key not in seen:
            seen[key] = path
        elif _absolute(path) == _absolute(seen[key]):
            raise ValueError(f"'{path}' is given twice; give it once.")
        else:
            raise ValueError(f"'{seen[key]}' and '{path}' have the same name in the same folder, and so would their "
                             "results; segment them into different folders.")


def _joined(place: tuple[str, ...], folders: int) -> str:
    return "_".join(place[-1 - folders:] if folders < len(place) else place)


def _key(name: str) -> str:
    return name.casefold() if FOLDS_CAPITALS else name
