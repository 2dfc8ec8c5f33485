"""Bringing checkpoints into the models folder, and taking them out."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from SAMoraLib.card import read_card
from SAMoraLib.system.files import atomic_write, file_sha256
from SAMoraSlicer import download
from SAMoraSlicer.models import ENDING, Model, base_name, base_names, catalogue, checkpoints, find, models_folder, unfit

PART = ".part"


def download_arguments(model: Model) -> list[str]:
    """The arguments with which Python fetches a model of the catalogue (``download.py`` as a program)."""
    target = models_folder() / f"{model.id}{ENDING}"
    return [download.__file__, "--to", str(target), "--size", str(model.size_bytes), "--sha256", model.sha256,
            "--", *model.urls]  # what a list of models calls an address is never an option


def partial_bytes(model: Model) -> int:
    """How much of the model an interrupted download has left behind."""
    try:
        return _part(model).stat().st_size
    except OSError:
        return 0


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
    target = folder / f"{known.id if known else _safe_id(source.stem)}{ENDING}"
    files = {target: (source, checksum)}
    if card.base is not None:
        base = base_name(card.base)
        files[folder / base] = (source.parent / base, card.base["sha256"])
    for place, (_, wanted) in files.items():
        if place.exists() and file_sha256(place) != wanted:
            raise ValueError(f"The models folder already holds another '{place.name}'; delete that one, or rename the "
                             "new file (one that needs a base: make it self-contained with samora merge).")
    for place, (origin, _) in files.items():
        _copy(origin, place)
    return find(target.stem)


def deletable(model: Model) -> bool:
    """Whether something of the model lies in the models folder."""
    return _own(model) or _part(model).exists()


def delete(model: Model) -> None:
    """Remove a model's file, its unfinished download, and its base if no other model needs it.

    Raises:
        ValueError: the file belongs to the module.
        OSError: the file cannot be removed.
    """
    if not deletable(model):
        raise ValueError(f"'{model.title}' comes with the module and cannot be deleted.")
    paths = [_part(model)]
    if _own(model) and model.path is not None:
        others = [path for path in checkpoints(models_folder()) if path != model.path]
        needed = {name for path in others for name in base_names(path)}
        bases = [models_folder() / name for name in base_names(model.path) if name not in needed]
        paths += [model.path, *bases]
    for path in paths:
        path.unlink(missing_ok=True)


def _own(model: Model) -> bool:
    return model.path is not None and model.path.parent == models_folder()


def _part(model: Model) -> Path:
    return models_folder() / f"{model.id}{ENDING}{PART}"


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        return  # the same file: its hash has been compared
    try:
        with atomic_write(target) as unfinished:
            shutil.copyfile(source, unfinished)
    except OSError as error:
        raise OSError(f"'{source.name}' could not be copied to '{target.parent}' ({error.strerror}); check that the "
                      "disk has room and that the folder may be written to, or choose another models folder."
                      ) from error


def _safe_id(stem: str) -> str:
    cleaned = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:100]
    return cleaned or "model"
