"""What a list of models says, ``{"models": [{"id", "title", ...}]}``: the module's own, or anybody's (plain Python).

Each field is taken as it should be or its entry not at all: ids become file names, addresses a program's arguments.
Texts are only shown, and cut where they are long.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.streams import one_line
from SAMoraLib.system.untrusted_json import read_json
from SAMoraSlicer.download import is_web_address

ENDING = ".safetensors"
LIST_BYTES, MOST_ENTRIES = 1 << 20, 500
NUMBER = (int, float, type(None))
ENTRY_TYPES: dict[str, Any] = {  # of an entry in a Models.json
    "id": str, "title": str, "description": str, "modality": str, "organs": list, "licence": str,
    "size_bytes": int, "sha256": str, "urls": list, "cpu_seconds": NUMBER, "gpu_seconds": NUMBER, "measured_on": str}
LONGEST = {"description": 2000, "urls": 16, "organs": 256}  # letters or items
LONGEST_TEXT = 200  # of all others, and of an organ's name
MOST_BYTES, MOST_SECONDS = 1 << 40, 1e6
SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # ids become file names
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)  # on Windows, whatever the ending


@dataclass(frozen=True)
class Model:
    """One model, on this computer or to be downloaded.

    Attributes:
        id: a word; the checkpoint is called so in the models folder.
        modality: "CT", "MR", or "any" of both.
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


def is_device(name: str) -> bool:
    """Whether Windows takes a file of that name for a device."""
    return DEVICE.fullmatch(name) is not None


def read_list(file: Path) -> list[dict[str, Any]]:
    """The entries of a list, unchecked.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no list of models; the text is the cause alone.
    """
    content = read_json(file, LIST_BYTES)
    entries = content.get("models") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError('it is no table with a list of tables, {"models": [{"id": ..., "title": ...}]}')
    if len(entries) > MOST_ENTRIES:
        raise ValueError(f"it has {len(entries)} entries, and {MOST_ENTRIES} can be shown")
    return entries


def to_download(entries: Sequence[Mapping[str, Any]], taken: Collection[str]) -> list[Model]:
    """The models of a list that anybody may have written.

    Args:
        taken: ids and titles of other models, in lower case.

    Returns:
        One for each entry; of one that is not as it should be, or has another model's name, what is wrong with it.
    """
    models: list[Model] = []
    names = set(taken)
    for number, entry in enumerate(entries, 1):
        try:
            model = _to_download(entry, names, taken)
            names.add(model.id.casefold())
        except ValueError as error:
            model = _unusable(number, error)
        models.append(model)
    return models


def _to_download(entry: Mapping[str, Any], names: Collection[str], taken: Collection[str]) -> Model:
    model = from_entry(entry)
    if model.id.casefold() in names or model.title.casefold() in taken:
        raise ValueError(f"another model has the id or title '{model.id}', too")
    if not re.fullmatch("[0-9a-f]{64}", model.sha256) or model.size_bytes <= 0 or not model.urls:
        raise ValueError(f"'{model.id}' lacks its urls, size_bytes or sha256")
    return model


def _unusable(number: int, error: ValueError) -> Model:
    name = f"Models.json, entry {number}"  # with a blank, as no id has one
    return Model(name, name, problem=one_line(f"Entry {number} of the list of models cannot be used ({error}); correct "
                                              "or delete it."))


def from_entry(entry: Mapping[str, Any]) -> Model:
    """The model that an entry describes.

    Raises:
        ValueError: a field is missing, unknown or not as it should be; the text is the cause alone.
    """
    for name, value in entry.items():
        _check_field(name, value)
    if lacking := [name for name in ("id", "title") if not entry.get(name)]:
        raise ValueError(f"an entry has no {lacking[0]}")
    if not SAFE_ID.fullmatch(entry["id"]) or is_device(entry["id"]) or entry["id"].endswith(ENDING):
        raise ValueError(f"'{entry['id']:.80}' is not an id: letters, digits, dot, dash and underscore only, and no "
                         "name that a system keeps for itself")
    return Model(**{name: _value(name, value) for name, value in entry.items()})


def _check_field(name: str, value: Any) -> None:
    if name not in ENTRY_TYPES:
        raise ValueError(f"{name!r:.80} is no field of an entry; there are {', '.join(ENTRY_TYPES)}")
    if not isinstance(value, ENTRY_TYPES[name]) or isinstance(value, bool) or not _is_within(name, value):
        raise ValueError(f"{name} is {value!r:.80}, which is not what belongs there")
    if name == "urls" and (wrong := [url for url in value if not is_web_address(url)]):
        raise ValueError(f"{wrong[0]!r:.200} is no web address; addresses begin with https:// or http://, and hold no "
                         "password")


def _is_within(name: str, value: Any) -> bool:
    """Whether a field's value is as long or as large as one can be."""
    if isinstance(value, str):
        return True  # what is shown is cut
    if isinstance(value, list):
        return len(value) <= LONGEST[name] and (name == "urls" or all(map(_is_name, value)))
    return value is None or 0 <= value <= (MOST_BYTES if name == "size_bytes" else MOST_SECONDS)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _value(name: str, value: Any) -> Any:
    """Of a field: lists cannot be changed any more, texts stay on their line and are cut; unknown modalities go."""
    if name == "modality":
        return value if value in Preprocessing.CHOICES["modality"] else ""
    if isinstance(value, str):
        return one_line(value)[:LONGEST.get(name, LONGEST_TEXT)]
    if name == "organs":
        return tuple(one_line(organ)[:LONGEST_TEXT] for organ in value)
    return tuple(value) if isinstance(value, list) else value
