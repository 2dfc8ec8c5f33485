"""Checkpoints that are nothing but a card: what the panel shows of a model needs no tensor, and no torch."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from SAMoraLib.card import METADATA_KEY, Card
from SAMoraLib.labels import get_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant

CT = Preprocessing("CT", "hu_window", -125, 275, "body", 160)


def write_catalogue(folder: Path, **changes: Any) -> None:
    """A hospital's own list with one model to download; ``changes`` are fields of its entry."""
    entry = {"id": "abdomen-ct", "title": "Abdomen CT", "modality": "CT", "organs": ["liver", "spleen"],
             "licence": "CC-BY-4.0", "size_bytes": 1000, "sha256": "0" * 64, "urls": ["https://example.org/a"]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "Models.json").write_text(json.dumps({"models": [entry | changes]}), encoding="utf-8")


def write_checkpoint(path: Path, **changes: Any) -> Path:
    """A model of eight organs in a file without tensors; ``changes`` are fields of its card."""
    fields = {"kind": "model", "name": path.stem, "variant": get_variant("samed", "tiny"), "image_size": 160,
              "labels": get_label_set("synapse"), "preprocessing": CT, "licence": "CC-BY-4.0"}
    card = Card(**(fields | changes))
    header = json.dumps({"__metadata__": {METADATA_KEY: json.dumps(card.to_json())}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path
