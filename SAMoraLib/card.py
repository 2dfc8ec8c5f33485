"""The card of a checkpoint: what a ``.safetensors`` file says of itself in its header (torch-free)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from SAMoraLib.labels import LabelSet
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.files import file_sha256
from SAMoraLib.variants import Variant

FORMAT_VERSION = 1
METADATA_KEY = "samora_card"
KINDS = ("base", "expert", "model", "teacher")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format


@dataclass(frozen=True)
class Card:
    """Everything needed to use a checkpoint, and where it comes from.

    Attributes:
        kind: "base" (an encoder and decoder as trained whole), "expert" (one LoRA expert), "model", or "teacher" (a
            network that experts are distilled from; its name says which).
        variant: the row; None of a teacher, which is no SAM.
        base: name and sha256 of the file whose tensors this one leaves out; None when it is self-contained.
        parents: name and sha256 of the files that training started from.
    """

    kind: str
    name: str
    variant: Variant | None
    image_size: int
    labels: LabelSet | None = None
    preprocessing: Preprocessing | None = None
    base: Mapping[str, str] | None = None
    parents: tuple[Mapping[str, str], ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    description: str = ""
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        data["variant"] = self.variant.to_json() if self.variant else None
        data["labels"] = self.labels.to_json() if self.labels else None
        data["preprocessing"] = self.preprocessing.to_json() if self.preprocessing else None
        data["parents"] = [dict(parent) for parent in self.parents]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Card:
        """Rebuild a card.

        Raises:
            ValueError: written by a newer format, or a field is missing, unknown or has an impossible value.
        """
        version = data.get("format_version") if isinstance(data, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(f"The checkpoint has format version {version}; this version of SAMora reads "
                             f"{FORMAT_VERSION}, update SAMora or export the checkpoint again.")
        values = dict(data)
        try:
            values["variant"] = None if data["kind"] == "teacher" else Variant.from_json(data["variant"])
            values["labels"] = LabelSet.from_json(data["labels"]) if data.get("labels") else None
            values["preprocessing"] = Preprocessing(**data["preprocessing"]) if data.get("preprocessing") else None
            values["parents"] = tuple(data.get("parents", ()))
            base = data.get("base")
            if base is not None and not all(isinstance(base[key], str) for key in ("name", "sha256")):
                raise TypeError("its base has no name and sha256")
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"The checkpoint's card is damaged ({error}); export the checkpoint again.") from error


def reference_to(path: str | Path) -> dict[str, str]:
    """How a card names another file: name and sha256."""
    return {"name": Path(path).name, "sha256": file_sha256(path)}


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: tensor names, shapes, and ``__metadata__``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint '{path}'; give the path of a .safetensors file.")
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ValueError(f"'{path}' is not a safetensors file, or it is cut short; download or export it again.")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:  # too deeply nested
            raise ValueError(f"The header of '{path}' cannot be read; download or export it again.") from error
    if not isinstance(header, dict):
        raise ValueError(f"The header of '{path}' cannot be read; download or export it again.")
    return header


def read_card(path: str | Path) -> Card:
    """The card of a checkpoint, from the file's header alone: no tensor is read, torch is not needed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or it carries no card, or the card is damaged.
    """
    metadata = read_header(path).get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"'{path}' carries no SAMora card, so it was not written by this project; give a checkpoint "
                         "of SAMora.")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The checkpoint's card is damaged ({error}); export the checkpoint again.") from error
    return Card.from_json(data)


def cards_in(folder: Path) -> dict[Path, Card]:
    """The cards of all checkpoints in a folder; files that have none are passed over."""
    cards: dict[Path, Card] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            cards[path] = read_card(path)
        except (ValueError, OSError):
            continue
    return cards
