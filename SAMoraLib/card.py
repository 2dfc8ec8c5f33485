"""The card of a checkpoint: what a ``.safetensors`` file says of itself in its header (torch-free)."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from SAMoraLib.labels import LabelSet
from SAMoraLib.variants import Variant

FORMAT_VERSION = 1
METADATA_KEY = "samora_card"
KINDS = ("base", "expert", "model", "teacher")
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format


@dataclass(frozen=True)
class Preprocessing:
    """How a volume becomes slices in [0, 1].

    Attributes:
        modality: "CT" or "MR".
        intensity: "hu_window" clips to low..high HU; "percentile" clips to the low..high percentile of the body.
        crop: "none" stretches the whole slice to the slab (SAMed); "body" takes a square in mm around the body.
        image_size: side S of the square slab, pixels.
        neighbours: distance in mm of the slices that fill SAM's first and third channel, below and above the slice
            itself; 0 repeats the slice (SAMed, SAMora).
        spacing: mm between the voxels of the grid, the same along every axis, that a 3D model slides its window over
            (TP-Mamba: 1), ``image_size`` being the window's side; 0 takes slices as they lie, at the slab's size.
        rows: where a slice's rows run to, "posterior", or "anterior" for models that were trained on slices turned
            upside down (the Synapse arrays of TransUNet, SAMed and H-SAM). Columns run to the patient's left.
    """

    modality: str
    intensity: str
    low: float
    high: float
    crop: str
    image_size: int
    neighbours: float = 0.0
    spacing: float = 0.0
    rows: str = "posterior"

    CHOICES = {"modality": ("CT", "MR"), "intensity": ("hu_window", "percentile"), "crop": ("none", "body"),
               "rows": ("posterior", "anterior")}

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"Unknown {name} '{getattr(self, name)}'; choose from {', '.join(choices)}.")
        if not self.low < self.high:
            raise ValueError(f"The intensity range {self.low}..{self.high} is empty; low must be below high.")
        if not self.neighbours >= 0:
            raise ValueError(f"Neighbouring slices cannot lie {self.neighbours} mm away; give a distance, or 0 for "
                             "none.")
        if not self.spacing >= 0:
            raise ValueError(f"A grid cannot have steps of {self.spacing} mm; give a distance, or 0 for none.")
        if self.spacing and self.neighbours:
            raise ValueError(f"A grid of {self.spacing} mm shows every slice anyway; set neighbours to 0.")

    @property
    def channels(self) -> int:
        """1 where the slice is repeated, 3 where its neighbours are shown beside it."""
        return 3 if self.neighbours else 1


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
        data["preprocessing"] = asdict(self.preprocessing) if self.preprocessing else None
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


def file_sha256(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


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
        except ValueError as error:
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
    except ValueError as error:
        raise ValueError(f"The checkpoint's card is damaged ({error}); export the checkpoint again.") from error
    return Card.from_json(data)
