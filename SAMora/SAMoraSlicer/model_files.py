"""Bringing checkpoints into the models folder, and taking them out.

A card says which base weights its model needs, and may say so of any file: such a file is brought along or removed only
if it has the name of one and the bytes that the card was written for.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from SAMoraLib.card import Card, read_card
from SAMoraLib.system.files import atomic_write, file_sha256
from SAMoraSlicer import download
from SAMoraSlicer.download import PART, part_bytes
from SAMoraSlicer.listed_card import listed_card
from SAMoraSlicer.model_list import ENDING, Model, is_device
from SAMoraSlicer.models import base_name, base_names, catalogue, checkpoints, find, is_taken, models_folder, unfit


def download_arguments(model: Model) -> list[str]:
    """The arguments with which Python fetches a model of the catalogue (``download.py`` as a program)."""
    target = models_folder() / f"{model.id}{ENDING}"
    return [download.__file__, "--to", str(target), "--size", str(model.size_bytes), "--sha256", model.sha256,
            "--", *model.urls]  # what a list of models calls an address is never an option


def partial_bytes(model: Model) -> int:
    """How much of the model an interrupted download has left behind."""
    return part_bytes(_part(model))


def install_from_file(source: str | Path) -> Model:
    """Copy a checkpoint, and the base that it needs, into the models folder.

    Returns:
        The installed model; that of the catalogue if the file is the one it names.

    Raises:
        FileNotFoundError, ValueError: not a model of this project, or its base is missing or in the way.
        OSError: the folder cannot be written to, or the disk is full.
    """
    source, folder = Path(source), models_folder()
    card = read_card(source)
    if problem := unfit(card, source):
        raise ValueError(problem)
    checksum = file_sha256(source)
    known = next((model for model in catalogue() if model.sha256 == checksum), None)
    name = known.id if known else _safe_id(source.stem)
    if is_taken(name):
        raise ValueError(f"'{name}' is a model that comes with the module; rename the new file.")
    files = {}
    if card.base is not None:  # first, for the model is nothing without it
        base = base_name(card.base)
        files[folder / base] = (source.parent / base, card.base["sha256"])
    files[folder / f"{name}{ENDING}"] = (source, checksum)
    for place, (_, wanted) in files.items():
        _require_free(place, wanted)
    for place, (origin, wanted) in files.items():
        _copy(origin, place, wanted)
    return find(name)


def deletable(model: Model) -> bool:
    """Whether something of the model lies in the models folder."""
    return _own(model) or os.path.lexists(_part(model))


def delete(model: Model) -> None:
    """Remove a model's file, its unfinished download, and its base if no other model needs it.

    Raises:
        ValueError: the file belongs to the module.
        OSError: the file cannot be removed.
    """
    if not deletable(model):
        raise ValueError(f"'{model.title}' comes with the module and cannot be deleted.")
    own = [model.path, *_own_bases(model.path)] if _own(model) and model.path is not None else []
    for path in [_part(model), *own]:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OSError(f"'{path}' could not be deleted ({error.strerror}); delete it in the file manager."
                          ) from error


def _own_bases(path: Path) -> list[Path]:
    """The base weights that a model alone needs: by what they are, not only by what its card calls them."""
    folder = models_folder()
    needed = {name for other in checkpoints(folder) if other != path for name in base_names(other)}
    try:
        base = listed_card(path).base
        if base is None or not (name := base_name(base)) or name in needed:
            return []
        found = folder / name
        return [found] if _may_be_base(found) and _is(found, base["sha256"]) else []
    except (OSError, ValueError):
        return []


def _may_be_base(path: Path) -> bool:
    """Whether a file is no model or expert itself; base weights of other programs have no card."""
    try:
        card: Card | None = listed_card(path)
    except (OSError, ValueError):
        card = None
    return card is None or card.kind == "base"


def _is(path: Path, sha256: str) -> bool:
    return path.is_file() and file_sha256(path) == sha256


def _require_free(place: Path, sha256: str) -> None:
    """Refuse to write where something else lies, also by a name that differs in capitals alone."""
    names = {path.name for path in [place] if os.path.lexists(path)}
    if place.parent.is_dir():
        names |= {path.name for path in place.parent.iterdir() if path.name.casefold() == place.name.casefold()}
    if names and not (names == {place.name} and _is(place, sha256)):
        raise ValueError(f"The models folder already holds another '{min(names)}'; delete that one, or rename the new "
                         "file (one that needs a base: make it self-contained with samora merge).")


def _own(model: Model) -> bool:
    return model.path is not None and model.path.parent == models_folder()


def _part(model: Model) -> Path:
    return models_folder() / f"{model.id}{ENDING}{PART}"


def _copy(source: Path, target: Path, sha256: str) -> None:
    if os.path.lexists(target):
        return  # the same file: its hash has been compared
    try:
        with atomic_write(target) as unfinished:
            shutil.copyfile(source, unfinished)
            if file_sha256(unfinished) != sha256:
                raise ValueError(f"'{source}' is not the file that was asked for (its sha256 does not begin with "
                                 f"{sha256[:12]}); get it anew, and its model with it.")
    except OSError as error:
        raise OSError(f"'{source.name}' could not be copied to '{target.parent}' ({error.strerror}); check that the "
                      "disk has room and that the folder may be written to, or choose another models folder."
                      ) from error


def _safe_id(stem: str) -> str:
    """A file's name as an id, which no system keeps for itself."""
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    return f"model-{cleaned}"[:100] if is_device(cleaned) else cleaned or "model"
