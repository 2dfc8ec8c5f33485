"""Segment files: one model load for any number of volumes, progress as a bar or as JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from SAMoraLib.card import read_card
from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.device import choose_device
from SAMoraLib.inference.organ_table import OrganRow, organ_table
from SAMoraLib.inference.predictor import Predictor, Region
from SAMoraLib.volume_io import READABLE, WRITABLE, read_volume, write_segmentation


@dataclass(frozen=True)
class Request:
    """What to segment, with what, and where to.

    Attributes:
        output: a folder, or for a single input the file to write.
        ending: file format in an output folder, e.g. ".seg.nrrd".
    """

    inputs: tuple[Path, ...]
    model: Path
    output: Path
    base: Path | None = None
    ending: str = ".seg.nrrd"
    organs: tuple[str, ...] | None = None
    region: Region | None = None
    device: str = "auto"
    batch_size: int = 8


class Reporter:
    """Tells of progress and results: JSON lines on standard output, or a bar and tables for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.bar: tqdm | None = None

    def event(self, name: str, **values: Any) -> None:
        """One JSON line; nothing for people."""
        if self.as_json:
            print(json.dumps({"event": name, **values}), flush=True)

    def progress(self, volume: str, fraction: float, stage: str) -> None:
        """How far one volume is, 0 to 1."""
        self.event("progress", volume=volume, fraction=round(fraction, 4), stage=stage)
        if self.as_json or not sys.stderr.isatty():
            return
        if self.bar is None:
            self.bar = tqdm(total=100, desc=volume, unit="%", leave=False, file=sys.stderr)
        self.bar.update(round(100 * fraction) - self.bar.n)

    def result(self, volume: str, output: Path, rows: Sequence[OrganRow], seconds: float) -> None:
        """A volume is done and written."""
        self._close()
        organs = [asdict(row) | {"found": row.found} for row in rows]
        self.event("result", volume=volume, output=str(output), seconds=round(seconds, 2), organs=organs)
        if not self.as_json:
            print(f"{volume} -> {output} ({seconds:.1f} s)\n{format_table(rows)}", flush=True)

    def failure(self, volume: str, message: str) -> None:
        """A volume was refused; the others go on."""
        self._close()
        self.event("error", volume=volume, message=message)
        print(f"samora: {message}", file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def format_table(rows: Sequence[OrganRow]) -> str:
    """Organ, volume and mean intensity in columns."""
    lines = [f"  {'organ':16}{'volume (ml)':>12}{'mean':>10}"]
    for row in rows:
        found = f"{row.volume_ml:12.1f}{row.mean_intensity:10.1f}" if row.found else f"{'not found':>12}"
        lines.append(f"  {row.title:16}{found}")
    return "\n".join(lines)


def predict_files(request: Request, as_json: bool = False) -> int:
    """Segment every input; one that is refused does not stop the others.

    Returns:
        How many inputs were refused.

    Raises:
        ValueError, FileNotFoundError: before any work, a request that cannot be carried out: model, device, organs,
            or outputs that would overwrite an input or each other.
    """
    outputs = plan_outputs(request)
    card = read_card(request.model)
    for organ in request.organs or ():
        if card.labels is not None:
            card.labels.by_name(organ)
    device = choose_device(request.device)
    model, card = load_model(request.model, device, request.base)
    predictor = Predictor(model, card, device, request.batch_size)
    reporter = Reporter(as_json)
    reporter.event("ready", model=card.name, device=str(device), volumes=len(outputs))
    refused = 0
    for source, target in outputs.items():
        try:
            _predict_one(predictor, request, source, target, reporter)
        except (ValueError, OSError) as error:
            reporter.failure(str(source), str(error))
            refused += 1
        except (RuntimeError, MemoryError) as error:  # torch: out of memory, or a device that failed
            cause = (str(error).splitlines() or ["out of memory"])[0]
            reporter.failure(str(source), f"'{source.name}' could not be segmented ({cause}); try --batch-size 1 or "
                                          "--device cpu.")
            refused += 1
    return refused


def _predict_one(predictor: Predictor, request: Request, source: Path, target: Path, reporter: Reporter) -> None:
    started = time.monotonic()
    reporter.progress(str(source), 0.0, "reading")
    volume = read_volume(source)
    segmentation = predictor.predict(volume, request.organs, request.region,
                                     lambda fraction, stage: reporter.progress(str(source), fraction, stage))
    write_segmentation(segmentation, predictor.labels, target)
    rows = organ_table(segmentation, predictor.labels, volume, request.organs)
    reporter.result(str(source), target, rows, time.monotonic() - started)


def plan_outputs(request: Request) -> dict[Path, Path]:
    """Input -> output file.

    Raises:
        ValueError: two inputs would be written to the same file, or an input would be overwritten.
    """
    single = len(request.inputs) == 1 and str(request.output).lower().endswith(WRITABLE)
    if single:
        outputs = {request.inputs[0]: request.output}
    else:
        if request.output.is_file() or str(request.output).lower().endswith(WRITABLE):
            raise ValueError(f"'{request.output}' names one file for {len(request.inputs)} inputs; give a folder.")
        outputs = {source: request.output / (stem(source) + "_segmentation" + request.ending)
                   for source in request.inputs}
    if len(set(outputs.values())) < len(request.inputs):
        raise ValueError("Several inputs have the same name and would overwrite each other's result; "
                         "segment them into different folders.")
    for source, target in outputs.items():
        if target.resolve() == source.resolve():
            raise ValueError(f"The result would overwrite the input '{source}'; choose another output.")
    return outputs


def stem(path: Path) -> str:
    """File name without its volume ending; a folder's own name."""
    name = path.resolve().name
    ending = next((ending for ending in sorted(READABLE, key=len, reverse=True) if name.lower().endswith(ending)), "")
    return name[:len(name) - len(ending)]
