"""What was measured in one volume, as rows of a table and as a file for spreadsheets (no Qt)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import atomic_write

COLUMNS = ("volume", "organ", "title", "found", "voxels", "volume_ml", "mean_intensity", "confidence")
DIGITS = {"volume_ml": 3, "mean_intensity": 2, "confidence": 4}
NOT_FOUND, NOTHING = "not found", "-"


@dataclass(frozen=True)
class Result:
    """The organs of one volume.

    Attributes:
        volume: the volume's name.
        volume_id, segmentation_id: the nodes' ids in the scene; either may be gone by now.
        modality: "CT" or "MR", of the model.
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
    return (organ["title"], f"{organ['volume_ml']:.1f}", f"{organ['mean_intensity']:.1f}",
            NOTHING if confidence is None else f"{100 * confidence:.0f} %")


def _rounded(organ: Mapping[str, Any]) -> dict[str, str]:
    """Volume, mean and confidence with the digits that mean something; empty where nothing was measured."""
    return {name: "" if organ.get(name) is None else f"{organ[name]:.{digits}f}" for name, digits in DIGITS.items()}


def write_csv(results: Sequence[Result], path: str | Path) -> None:
    """All organs of all results, a row each, as UTF-8 with the mark by which spreadsheets know it.

    Raises:
        OSError: the file could not be written; one that was there before is unchanged.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore")
    writer.writeheader()
    for result in results:
        writer.writerows({**organ, **_rounded(organ), "volume": result.volume, "organ": organ["name"]}
                         for organ in result.organs)
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(("\ufeff" + text.getvalue()).encode())
    except UnicodeEncodeError as error:  # a volume's name that came from a file's
        raise OSError(f"'{path}' could not be written, because '{error.object[:40]!a}' is not valid text; rename the "
                      "volume.") from error
    except OSError as error:
        raise OSError(f"'{path}' could not be written ({error.strerror}); check that the disk has room, that the "
                      "folder may be written to, and that no other program holds the file open.") from error
