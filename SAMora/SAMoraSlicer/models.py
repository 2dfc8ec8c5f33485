"""The models that can be chosen: those in Models.json and the checkpoints in the user's folder (plain Python, no Qt).

A catalogue is a JSON file, ``{"models": [{"id", "title", ...}]}``; its fields are those of `Model`. Besides the
module's own, a ``Models.json`` in the models folder is read, so that a hospital can offer what it serves itself.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import SAMoraLib
from SAMoraLib.card import Card, read_card
from SAMoraLib.labels import ORGANS

CATALOGUE = Path(__file__).resolve().parents[1] / "Resources" / "Models.json"
PACKAGED = Path(SAMoraLib.__file__).resolve().parent
FOLDER_VARIABLE = "SAMORA_WEIGHTS"
FOLDER_SETTING = "SAMora/ModelsFolder"
ENDING = ".safetensors"
NUMBER = (int, float, type(None))
ENTRY_TYPES: dict[str, Any] = {  # of an entry in a Models.json
    "id": str, "title": str, "description": str, "modality": str, "organs": list, "licence": str, "file": str,
    "size_bytes": int, "sha256": str, "urls": list, "cpu_seconds": NUMBER, "gpu_seconds": NUMBER, "measured_on": str}
WEB_ADDRESS = re.compile(r"https?://[^\s/]\S*\Z")
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # ids become file names


@dataclass(frozen=True)
class Model:
    """One model, on this computer or to be downloaded.

    Attributes:
        id: a word; the checkpoint is called so in the models folder.
        modality: "CT" or "MR".
        organs: names as in the card's labels.
        size_bytes, sha256: of the checkpoint; the hash is "" for the user's own files.
        urls: the same file at several places, tried in order; none for the user's own files.
        path: the checkpoint, or None while it is not on this computer.
        cpu_seconds, gpu_seconds: measured for one volume; None if never measured.
        measured_on: what was measured, and on what.
        problem: one sentence if the file, or the catalogue's entry, cannot be used.
    """

    id: str
    title: str
    description: str = ""
    modality: str = ""
    organs: tuple[str, ...] = ()
    licence: str = ""
    size_bytes: int = 0
    sha256: str = ""
    urls: tuple[str, ...] = ()
    path: Path | None = None
    cpu_seconds: float | None = None
    gpu_seconds: float | None = None
    measured_on: str = ""
    problem: str = ""

    @property
    def usable(self) -> bool:
        return self.path is not None and not self.problem

    @property
    def checkpoint(self) -> Path:
        """The file of a model that is on this computer."""
        assert self.path is not None
        return self.path


def models_folder() -> Path:
    """Where checkpoints are kept: $SAMORA_WEIGHTS, else the folder chosen in the panel, else the user's data folder."""
    chosen = os.environ.get(FOLDER_VARIABLE) or _setting(FOLDER_SETTING)
    return Path(chosen).expanduser().absolute() if chosen else _data_folder() / "SAMora" / "models"


def _setting(name: str) -> str:
    try:
        import qt
    except ImportError:  # plain Python
        return ""
    return str(qt.QSettings().value(name, "") or "")


def _data_folder() -> Path:
    """The same place inside Slicer and outside, so without Qt."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def catalogue() -> list[Model]:
    """Every model, the module's own first; nothing raises, what is wrong with a file stands in its ``problem``."""
    folder, models = models_folder(), {}
    for file in (CATALOGUE, folder / CATALOGUE.name):
        for model in _read_catalogue(file):
            models[model.id] = model
    paths = checkpoints(folder)
    bases = {name for path in paths for name in base_names(path)}
    for path in paths:
        if path.name not in bases and (found := _found(models.get(path.stem), path)) is not None:
            models[found.id] = found
    return list(models.values())


def find(name: str | Path) -> Model:
    """The model of that id or title, or at that path.

    Raises:
        FileNotFoundError: no such file, or the model is not on this computer.
        ValueError: no such model, or it cannot be used.
    """
    if isinstance(name, Path) or name.endswith(ENDING):
        return _at(Path(name))
    models = catalogue()
    model = next((model for model in models if name in (model.id, model.title)), None)
    if model is None:
        choices = ", ".join(model.id for model in models if not model.problem)
        raise ValueError(f"There is no model '{name}'; choose from {choices}, or give the path of a {ENDING} file.")
    if model.problem:
        raise ValueError(model.problem)
    if model.path is None:
        raise FileNotFoundError(f"The model '{model.id}' is not on this computer; download it in the panel's setup, or "
                                f"put its file into '{models_folder()}' as '{model.id}{ENDING}'.")
    return model


def titles(model: Model) -> dict[str, str]:
    """Organ name -> what people call it, in the order of the model's labels."""
    try:
        labels = read_card(model.path).labels if model.path is not None else None
    except (OSError, ValueError):  # damaged, or gone since the catalogue was read
        labels = None
    if labels is not None:
        return {label.name: label.title for label in labels}
    return {name: ORGANS[name].title if name in ORGANS else name for name in model.organs}


def unfit(card: Card, path: Path) -> str:
    """Why a checkpoint cannot segment, as one sentence; "" if it can."""
    if card.kind != "model" or card.labels is None or card.preprocessing is None:
        return (f"'{path.name}' is a checkpoint of kind '{card.kind}', which cannot segment by itself; give a trained "
                "model.")
    if card.base is not None and not (path.parent / base_name(card.base)).is_file():
        return (f"'{path.name}' needs its base weights '{base_name(card.base)}', which are not beside it; put them "
                "there, or make the model self-contained with samora merge.")
    return ""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder; none in one that cannot be read."""
    try:
        return sorted(path for path in folder.glob(f"*{ENDING}") if not path.name.startswith("."))
    except OSError:  # a network folder that is gone
        return []


def base_names(path: Path) -> list[str]:
    """The base file that a checkpoint needs beside it, if any."""
    try:
        card = read_card(path)
    except (OSError, ValueError):
        return []
    return [base_name(card.base)] if card.base is not None else []


def base_name(base: Mapping[str, str]) -> str:
    """The name alone: a card from elsewhere must not lead out of the folder."""
    return Path(base["name"]).name


def _at(path: Path) -> Model:
    card = read_card(path)
    if problem := unfit(card, path):
        raise ValueError(problem)
    return _described(Model(path.stem, card.name), path, card)


def _found(entry: Model | None, path: Path) -> Model | None:
    try:
        known = _known(entry, path)
    except OSError as error:  # a link to nothing
        known = Model(path.stem, path.stem)
        return replace(known, path=path, problem=f"'{path.name}' cannot be read ({error.strerror}); delete it.")
    return _with_card(known, path)


def _known(entry: Model | None, path: Path) -> Model:
    """The catalogue's entry that ``path`` is the file of; the user's own may have the same name."""
    if entry is None or entry.path is not None or entry.size_bytes != path.stat().st_size:
        return Model(path.stem, path.stem)
    return entry


def _with_card(model: Model, path: Path) -> Model | None:
    """``model`` with what its file says; None for a file that is only part of a model, as a base or an expert is."""
    try:
        card = read_card(path)
        return _described(model, path, card) if card.kind == "model" else None
    except (OSError, ValueError) as error:
        return replace(model, path=path, problem=str(error))


def _described(model: Model, path: Path, card: Card) -> Model:
    return replace(model, path=path, size_bytes=path.stat().st_size, problem=unfit(card, path),
                   modality=card.preprocessing.modality if card.preprocessing else "",
                   organs=card.labels.names if card.labels else (), licence=card.licence or model.licence,
                   description=model.description or card.description)


def _read_catalogue(file: Path) -> Iterator[Model]:
    if not file.is_file():
        return
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["models"]
        models = [_from_entry(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"The list of models '{file}' cannot be read ({error}); correct or delete it."
        models = [Model(file.name, file.name, problem=problem)]
    yield from models


def _from_entry(entry: Mapping[str, Any]) -> Model:
    if unknown := sorted(set(entry) - set(ENTRY_TYPES)):
        raise ValueError(f"'{unknown[0]}' is no field of an entry; there are {', '.join(ENTRY_TYPES)}")
    for name, value in entry.items():
        if not isinstance(value, ENTRY_TYPES[name]) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, which is not what belongs there")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    packaged = values.pop("file", None)
    model = Model(**values)
    if not SAFE_ID.fullmatch(model.id):
        raise ValueError(f"'{model.id}' is not an id: letters, digits, dot, dash and underscore only")
    if packaged is not None:
        return _with_card(model, PACKAGED / packaged) or replace(model, problem=f"'{packaged}' is not a model.")
    if wrong := [url for url in model.urls if not isinstance(url, str) or not WEB_ADDRESS.match(url)]:
        raise ValueError(f"{wrong[0]!r} is no web address; addresses begin with https:// or http://")
    if not re.fullmatch("[0-9a-f]{64}", model.sha256) or model.size_bytes <= 0 or not model.urls:
        raise ValueError(f"'{model.id}' lacks its urls, size_bytes or sha256")
    return model
