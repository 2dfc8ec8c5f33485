"""The card of a checkpoint: what a ``.safetensors`` file says of itself in its header (torch-free)."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, ClassVar

from SAMoraLib.fields import (
    NAME,
    NOTES,
    TEXT,
    Rule,
    check_fields,
    instance_of,
    known_fields,
    line,
    one_of,
    optional,
    shown,
    spelt_out,
    tuple_of,
    whole,
)
from SAMoraLib.labels import LabelSet
from SAMoraLib.preprocessing.settings import MAX_IMAGE_SIZE, Preprocessing
from SAMoraLib.system.files import file_sha256
from SAMoraLib.system.untrusted_json import parse_json
from SAMoraLib.variants import MAX_GRID, Variant

FORMAT_VERSION = 1
METADATA_KEY = "samora_card"
KINDS = ("base", "expert", "model", "teacher")
MAX_HEADER_BYTES = 16 << 20  # the names and shapes of a hundred thousand tensors
MAX_CARD_BYTES = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")


def is_plain_name(name: Any) -> bool:
    """Whether a text is the name of a file in a folder on every system, and leads nowhere else."""
    return (NAME_OF_FILE.holds(name) and len(name) <= 255 and name not in (".", "..")
            and name == PurePosixPath(name).name == PureWindowsPath(name).name)


def _names_a_file(value: Any) -> bool:
    return (isinstance(value, Mapping) and set(value) == {"name", "sha256"} and NAME_OF_FILE.holds(value["name"])
            and isinstance(value["sha256"], str) and _SHA256.fullmatch(value["sha256"]) is not None)


def _is_reference(value: Any) -> bool:
    """Weights that came from no file, but by a name of the web, have an empty sha256."""
    return _names_a_file(value) or (isinstance(value, Mapping) and value.get("sha256") == ""
                                    and _names_a_file({**value, "sha256": "0" * 64}))


NAME_OF_FILE = line(1024, 1)  # 255 bytes, some of them spelt out
REFERENCE = Rule("a name and a sha256, 64 hexadecimal digits or none", _is_reference)
BASE = Rule("the plain name of a file and its sha256, 64 hexadecimal digits",
            lambda value: _names_a_file(value) and is_plain_name(value["name"]))


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

    RULES: ClassVar[Mapping[str, Rule]] = {
        "kind": one_of(KINDS), "name": NAME, "image_size": whole(1, MAX_IMAGE_SIZE),
        "variant": optional(instance_of(Variant, "a table of a variant's fields")),
        "labels": optional(instance_of(LabelSet, "a table of a label set's fields")),
        "preprocessing": optional(instance_of(Preprocessing, "a table of a preprocessing's fields")),
        "base": optional(BASE), "parents": tuple_of(REFERENCE, 0, 64),
        "training": NOTES, "metrics": NOTES, "licence": TEXT, "description": TEXT}

    def check(self) -> None:
        """Refuse a card that no checkpoint has.

        Raises:
            ValueError: the first field that has an impossible value, or does not fit the others.
        """
        check_fields("card", vars(self), self.RULES)
        if (self.variant is None) != (self.kind == "teacher"):
            raise ValueError(f"The card's variant is {shown(self.variant)} for the kind '{self.kind}'; give none of a "
                             "teacher, and one of everything else.")
        if self.variant is not None:
            grid = self.image_size * self.variant.input_scale // self.variant.size.patch_size
            if grid > MAX_GRID:
                raise ValueError(f"The card's slices of {self.image_size} x {self.image_size} pixels make {grid} x "
                                 f"{grid} tokens; give slices that make {MAX_GRID} x {MAX_GRID} at most.")

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
            raise ValueError(f"The checkpoint has format version {shown(version)}; this version of SAMora reads "
                             f"{FORMAT_VERSION}, update SAMora or export the checkpoint again.")
        try:
            values = known_fields(cls, data)
            for name, kind in (("variant", Variant), ("labels", LabelSet), ("preprocessing", Preprocessing)):
                if values.get(name) is not None:
                    values[name] = kind.from_json(data[name])
            card = cls(**values)
            card.check()
        except ValueError as error:
            cause = str(error)
            raise ValueError(f"The checkpoint's card is damaged: {cause[:1].lower()}{cause[1:]}") from error
        return card


def reference_to(path: str | Path) -> dict[str, str]:
    """How a card names another file: name, what would steer a terminal spelt out, and sha256."""
    return {"name": spelt_out(Path(path).name), "sha256": file_sha256(path)}


def read_header(path: str | Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: tensor names, shapes, and ``__metadata__``.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file.
    """
    path = Path(path)
    if not path.is_file():  # a pipe would be waited for
        raise FileNotFoundError(f"There is no checkpoint '{path}'; give the path of a .safetensors file.")
    with path.open("rb") as file:
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ValueError(f"'{path}' is not a safetensors file, or it is cut short; download or export it again.")
        content = file.read(length)
    try:
        header = parse_json(content, MAX_HEADER_BYTES)
    except ValueError as error:
        raise ValueError(f"The header of '{path}' cannot be read ({error}); download or export it again.") from error
    if not isinstance(header, dict):
        raise ValueError(f"The header of '{path}' cannot be read, it is no table; download or export it again.")
    return header


def read_card(path: str | Path) -> Card:
    """The card of a checkpoint, from the file's header alone: no tensor is read, torch is not needed.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, or it carries no card, or the card is damaged.
    """
    return card_of(read_header(path), path)


def card_of(header: Mapping[str, Any], path: str | Path) -> Card:
    """The card in the header of the file ``path``.

    Raises:
        ValueError: as ``read_card``.
    """
    metadata = header.get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ValueError(f"'{path}' carries no SAMora card, so it was not written by this project; give a checkpoint "
                         "of SAMora.")
    try:
        data = parse_json(text, MAX_CARD_BYTES)
    except ValueError as error:
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
