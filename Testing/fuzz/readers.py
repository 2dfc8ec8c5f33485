"""How the product reads what it is given, and what it must not have accepted.

A reader gets the folder that the input's files lie in. What it returns was accepted; a check then says what is wrong
with it, or nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import nibabel  # noqa: F401  with the next two: once for all forks
import numpy as np
import pydicom  # noqa: F401
import SimpleITK  # noqa: F401

from SAMoraLib.card import Card, cards_in, read_card
from SAMoraLib.checkpoint import load_model
from SAMoraLib.exchange.convert import read_published
from SAMoraLib.model import SegmentationModel
from SAMoraLib.request import Request
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume, stored_bytes
from SAMoraLib.volume.right_angles import are_perpendicular
from SAMoraLib.weights.sam import base_tensors
from SAMoraLib.weights.tensors import read_tensors
from SAMoraSlicer import models
from SAMoraSlicer.manifest import Manifest
from Testing.fuzz import seeds
from Testing.fuzz.mutate import Files, Mutant, write_files
from Testing.small import small_model
from Training.compare import compare
from Training.data.manifest import Manifest as TrainingManifest
from Training.data.manifest import read_manifest, write_manifest
from Training.engine.run import Run
from Training.grids.plan import plan, read_grid
from Training.reports.metrics import CONVENTIONS
from Training.reports.rows import read_rows
from Training.settings.command_line import from_command_line
from Training.settings.stages import Stage2

# Changes that take some voxels away, or none; both together may put other ones in their place.
CUTS, EXTENSIONS = {"cut_short"}, {"extend", "append_bomb"}
SIZES = (re.compile(rb"^sizes: *(.*)$", re.MULTILINE), re.compile(rb"^DimSize *= *(.*)$", re.MULTILINE))


def volume_file(folder: Path) -> Volume:
    """The one file that has a volume's ending."""
    return _volume(next((path for path in sorted(folder.glob("volume.*")) if not path.name.startswith("volume.raw")),
                        folder / "volume"))


def volume_folder(folder: Path) -> Volume:
    return _volume(folder / "series")


def _volume(path: Path) -> Volume:
    if path.exists():
        stored_bytes(path)
    return read_volume(path, lambda sentence: None)


def wrong_volume(mutant: Mutant, folder: Path, volume: Volume) -> str:
    """What a volume is that must have been refused."""
    axes = np.reshape(volume.direction, (3, 3))
    if not (np.isfinite(volume.spacing).all() and min(volume.spacing) > 0 and np.isfinite(volume.origin).all()):
        return f"voxels of {volume.spacing} mm at {volume.origin}"
    if not (are_perpendicular(axes) and np.allclose(np.linalg.norm(axes, axis=0), 1, atol=1e-2)):
        return f"axes {volume.direction}"
    if not volume.array.size or volume.array.dtype.kind not in "iuf":
        return f"an array {volume.array.shape} of {volume.array.dtype}"
    if not np.isfinite(volume.array).all():
        return "voxels that are NaN or infinite"
    stated = _stated_shape(mutant.files)
    if stated and stated != volume.array.shape:
        return f"voxels {volume.array.shape} of a header that says {stated}"
    is_text = b"encoding: text" in next(iter(mutant.seed.values()))  # whose last number may be another then
    keeps_voxels = not is_text and (set(mutant.how) <= CUTS or set(mutant.how) <= EXTENSIONS)
    if keeps_voxels and not np.array_equal(volume.array, _original(mutant)):
        return f"other voxels after {', '.join(mutant.how)}"
    return ""


def _stated_shape(files: Files) -> tuple[int, ...]:
    """(D, H, W) where a header says it in one place and one way; empty elsewhere."""
    name = next((name for name in files if name.startswith("volume.") and "raw" not in name), "")
    content = files.get(name, b"")
    if name.endswith(".nii") and content[:4] == struct.pack("<i", 348) and content[40:42] == b"\3\0":
        return struct.unpack_from("<3h", content, 42)[::-1]
    found = [line for pattern in SIZES for line in pattern.findall(content)]
    if len(found) == 1 and re.fullmatch(rb"\d+ \d+ \d+", found[0]):
        return tuple(map(int, found[0].split()))[::-1]
    return ()


def _original(mutant: Mutant) -> np.ndarray:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_files(mutant.seed, folder)
        return (volume_folder(folder) if (folder / "series").is_dir() else volume_file(folder)).array


def checkpoint(folder: Path) -> Card:
    return load_model(folder / "model.safetensors")[1]


def card(folder: Path) -> Card:
    """As the list of models does, and ``samora info``."""
    path = folder / "model.safetensors"
    found = read_card(path)
    models.unfit(found, path)
    cards_in(folder)
    return found


def wrong_card(mutant: Mutant, folder: Path, found: Card) -> str:
    """Whether a card comes back from JSON as it was."""
    text = json.dumps(found.to_json(), allow_nan=False)
    return "" if Card.from_json(json.loads(text)) == found else f"a card that is another after JSON: {text:.200}"


@cache
def _base_model() -> SegmentationModel:
    return small_model("sam", num_classes=4, size=seeds.TINY)


def weights(folder: Path) -> Any:
    return base_tensors(_base_model(), read_tensors(folder / "weights.pth"))


def published(folder: Path) -> Any:
    """As ``samora import`` begins."""
    found = read_published(folder / "weights.pth", encoder_size=seeds.TINY)
    found.report()
    return found.tensors


def wrong_weights(mutant: Mutant, folder: Path, tensors: Any) -> str:
    bad = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    return f"values of '{bad[0]}' that are not finite" if bad else ""


def request(folder: Path) -> Request:
    return Request.read(folder / "request.json")


def wrong_request(mutant: Mutant, folder: Path, found: Request) -> str:
    text = json.dumps(found.to_json(), allow_nan=False)
    return "" if Request.from_json(json.loads(text)) == found else f"a request that is another after JSON: {text:.200}"


def batch(folder: Path) -> Manifest:
    """Read, asked of every case, written as a table and again: what a resumed batch does with it."""
    manifest = Manifest(folder / "manifest.json", seeds.RUN)
    for case in seeds.cases(folder):
        manifest.is_done(case)
        manifest.is_in_the_way(case)
    manifest.write_table(folder / "table.csv")
    manifest.write()
    return manifest


def wrong_batch(mutant: Mutant, folder: Path, manifest: Manifest) -> str:
    again = Manifest(folder / "manifest.json", seeds.RUN)
    return "" if again.cases == manifest.cases else "cases that are others after writing"


def training_manifest(folder: Path) -> TrainingManifest:
    found = read_manifest(folder / "manifest.json")
    for case in found.cases:
        found.image_path(case)
    return found


def wrong_training_manifest(mutant: Mutant, folder: Path, found: TrainingManifest) -> str:
    write_manifest(found, folder / "again.json")
    return "" if read_manifest(folder / "again.json") == found else "a manifest that is another after writing"


def catalogue(folder: Path) -> list[models.Model]:
    """As the panel does to show its list."""
    os.environ[models.FOLDER_VARIABLE] = str(folder)
    found = models.catalogue()
    for model in found:
        models.titles(model)
    return found


def wrong_catalogue(mutant: Mutant, folder: Path, found: list[models.Model]) -> str:
    for model in found:
        texts = (model.id, model.title, model.description, model.modality, model.licence, model.sha256,
                 model.measured_on, model.problem, *model.organs, *model.urls)
        if not all(isinstance(text, str) for text in texts):
            return f"a model whose texts are none: {model!r:.300}"
        if any(isinstance(value, float) and not np.isfinite(value) for value in (model.cpu_seconds, model.gpu_seconds)):
            return f"a model whose seconds are {model.cpu_seconds} and {model.gpu_seconds}"
        if "\n" in model.problem or len(model.problem) > 600:
            return f"a problem that is no sentence: {model.problem!r:.300}"
    return ""


def results(folder: Path) -> Any:
    """Compared with themselves under every convention."""
    rows = read_rows([str(folder / "run")])
    return [compare(rows, convention, rows[0]) for convention in CONVENTIONS]


def grid(folder: Path) -> Any:
    return plan(read_grid(folder / "grid.yaml"))


def run_configuration(folder: Path) -> Run:
    return Run(folder / "run", seeds.STAGE_2)


def stage_configuration(folder: Path) -> Stage2:
    """What the command line refuses ends the program; its words are the refusal."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return from_command_line(Stage2, [f"--config={folder / 'stage.yaml'}"])
    except SystemExit as error:
        problem = " ".join(said.getvalue().rpartition("error: ")[2].split()).removesuffix(".")
        raise ValueError(f"{problem}.") from error


def nothing_wrong(mutant: Mutant, folder: Path, result: Any) -> str:
    return ""


Check = Callable[[Mutant, Path, Any], str]
