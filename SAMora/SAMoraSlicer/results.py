"""What was measured in one volume, as rows of a table and as a file for spreadsheets (no Qt)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.spreadsheet import cell

COLUMNS = ("volume", "organ", "title", "found", "voxels", "volume_ml", "mean_intensity", "confidence")
DIGITS = {"volume_ml": 3, "mean_intensity": 2, "confidence": 4}
NOT_FOUND, NOTHING = "not found", "-"


@dataclass(frozen=True)
class Result:
    """The organs of one volume.

    Attributes:
        volume: the volume's name.
        volume_id, segmentation_id: the nodes' ids in the scene; either may be gone by now.
        modality: "CT", "MR" or "any", of the model.
        organs: as in the child's ``result`` event: name, title, voxels, volume_ml, mean_intensity, confidence, found.
    """

    volume: str
    volume_id: str
    segmentation_id: str
    modality: str
    organs: tuple[Mapping[str, Any], ...]

    @property
    def found(self) -> int:
        return sum(bool(organ["found"]) for organ in self.organs)


def headers(result: Result) -> tuple[str, ...]:
    """The titles of the columns of `cells`."""
    return ("Organ", "Volume (ml)", "Mean (HU)" if result.modality == "CT" else "Mean intensity", "Confidence")


def cells(organ: Mapping[str, Any]) -> tuple[str, ...]:
    """One organ as text: title, ml, mean and confidence."""
    if not organ["found"]:
        return organ["title"], NOT_FOUND, NOTHING, NOTHING
    confidence = organ.get("confidence")
    return (organ["title"], _digits(organ.get("volume_ml"), 1) or NOTHING,
            _digits(organ.get("mean_intensity"), 1) or NOTHING,
            NOTHING if confidence is None or not _is_number(confidence) else f"{100 * confidence:.0f} %")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _digits(value: Any, digits: int) -> str:
    """A number with the digits that mean something; empty where nothing was measured."""
    return f"{value:.{digits}f}" if _is_number(value) else ""


def _row(volume: str, organ: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers stay numbers, a negative mean too; names come from files, and are text whatever they begin with."""
    numbers = {name: _digits(organ.get(name), digits) for name, digits in DIGITS.items()}
    named = {**organ, "volume": volume, "organ": organ.get("name", "")}
    return {name: cell(value) for name, value in named.items()} | numbers


def write_csv(results: Sequence[Result], path: str | Path) -> None:
    """All organs of all results, a row each, as UTF-8 with the mark by which spreadsheets know it.

    Raises:
        OSError: the file could not be written; one that was there before is unchanged.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for result in results:
        writer.writerows(_row(result.volume, organ) for organ in result.organs)
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(("\ufeff" + text.getvalue()).encode())
    except OSError as error:
        raise OSError(f"'{path}' could not be written ({error.strerror}); check that the disk has room, that the "
                      "folder may be written to, and that no other program holds the file open.") from error
