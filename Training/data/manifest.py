"""The manifest: which volumes there are, which split each belongs to, and what its label numbers mean."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from SAMoraLib.labels import LabelSet, get_label_set
from SAMoraLib.preprocessing.settings import SCANS
from SAMoraLib.system.files import file_sha256, write_json
from SAMoraLib.system.streams import is_shown, shortened
from SAMoraLib.system.untrusted_json import read_json
from Training.data.typed import fields, list_of, table_of, typed

FORMAT_VERSION = 1
LABELLED_SPLITS = ("train", "validation", "test")
SPLITS = (*LABELLED_SPLITS, "unlabelled")  # the last for stage 1 only
LONGEST_ID = 200  # bytes; files are called by it
SHA256 = re.compile("[0-9a-f]{64}")
MOST_VOXELS = 2**16  # along an axis
LARGEST_SPACING = 1e4  # mm
LARGEST_NUMBER = 2**24  # in a label file; larger whole numbers are not all told apart in float32


@dataclass(frozen=True)
class Case:
    """One volume with its label volume.

    Attributes:
        id: names files of the cache and of evaluations, so it is a plain name.
        image: path relative to the manifest's folder, with forward slashes; it may lead up and out of it.
        label: the same for the label volume; None in the split "unlabelled".
        image_sha256: of the file's bytes.
        voxels_sha256: of the voxels in canonical order, equal for copies in another format or orientation.
        shape: voxels along (k, j, i), as stored.
        spacing: mm along (i, j, k), as stored.
        slices: the only slices to train on, counted from the feet in canonical order; None for all of them.
    """

    id: str
    split: str
    image: str
    label: str | None
    image_sha256: str
    label_sha256: str | None
    voxels_sha256: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    slices: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Manifest:
    """All cases of a data set.

    Attributes:
        root: the folder of the manifest file, where relative paths start.
        label_map: number in the label files -> number in the label set; numbers left out are background.
    """

    root: Path
    modality: str
    labels: LabelSet
    label_map: dict[int, int]
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        _check_cases(self.cases)
        _check_label_map(self.label_map, self.labels)
        if self.modality not in SCANS:
            raise ValueError(f"Unknown modality '{shortened(self.modality)}'; choose from {', '.join(SCANS)}.")

    def of(self, *splits: str) -> tuple[Case, ...]:
        """The cases of ``splits``, in the manifest's order.

        Raises:
            ValueError: an unknown split, or no case in it.
        """
        for split in splits:
            _check_split(split)
        chosen = tuple(case for case in self.cases if case.split in splits)
        if not chosen:
            raise ValueError(f"The manifest in '{self.root}' has no case in the split {' or '.join(splits)}; "
                             f"run Training.prepare again with cases for it.")
        return chosen

    def by_id(self, name: str) -> Case:
        """The case called ``name``.

        Raises:
            ValueError: there is none.
        """
        for case in self.cases:
            if case.id == name:
                return case
        raise ValueError(f"The manifest in '{self.root}' has no case '{shortened(name)}'; choose from "
                         f"{shortened(', '.join(case.id for case in self.cases))}.")

    def image_path(self, case: Case) -> Path:
        return self.root / case.image

    def label_path(self, case: Case) -> Path:
        """The label file of ``case``.

        Raises:
            ValueError: the case has no label.
        """
        if case.label is None:
            raise ValueError(f"Case '{case.id}' has no label volume; use it in stage 1 only.")
        return self.root / case.label


def _check_split(split: str) -> None:
    if split not in SPLITS:
        raise ValueError(f"Unknown split '{shortened(split)}'; choose from {', '.join(SPLITS)}.")


def _check_cases(cases: tuple[Case, ...]) -> None:
    seen: set[str] = set()
    splits_of_voxels: dict[str, dict[str, str]] = defaultdict(dict)
    for case in cases:
        _check_case(case)
        _check_split(case.split)
        if case.id in seen:
            raise ValueError(f"Two cases are called '{case.id}'; give each case its own name.")
        seen.add(case.id)
        splits_of_voxels[case.voxels_sha256].setdefault(case.split, case.id)
        _check_slices(case)
        if case.label is None and case.split != "unlabelled":
            raise ValueError(f"Case '{case.id}' of the split {case.split} has no label; "
                             f"add its label or move it to the split unlabelled.")
    for copies in splits_of_voxels.values():
        if len(copies) > 1:
            where = " and ".join(f"'{case}' ({split})" for split, case in copies.items())
            raise ValueError(f"The same image is in several splits as {where}; keep one of them, or its results will "
                             "be too good.")


def _check_case(case: Case) -> None:
    if not _is_plain_name(case.id):
        raise ValueError(f"The case {case.id!r:.80} is not called by a plain name, after which files could be called; "
                         "rename its folder or file.")
    for path in (path for path in (case.image, case.label) if path is not None):
        if not _is_relative(path):
            raise ValueError(f"Case '{case.id}' lies at {path!r:.120}, which is no path from the manifest's folder; "
                             "run Training.prepare again.")
    for sha256 in (case.image_sha256, case.voxels_sha256, *([] if case.label is None else [case.label_sha256])):
        if not SHA256.fullmatch(sha256 or ""):
            raise ValueError(f"Case '{case.id}' has {sha256!r:.80} in place of a SHA-256; run Training.prepare again.")
    if len(case.shape) != 3 or not all(0 < count <= MOST_VOXELS for count in case.shape):
        raise ValueError(f"Case '{case.id}' has the shape {case.shape!s:.80}, but each of three axes has 1 to "
                         f"{MOST_VOXELS} voxels; run Training.prepare again.")
    if len(case.spacing) != 3 or not all(0 < length <= LARGEST_SPACING for length in case.spacing):
        raise ValueError(f"Case '{case.id}' has the spacing {case.spacing!s:.80}, but three lengths above 0 and up to "
                         f"{LARGEST_SPACING:g} mm are read; run Training.prepare again.")


def _is_plain_name(name: str) -> bool:
    """One that is a file's everywhere and steers no terminal; with letters of any script, spaces, undecoded bytes."""
    decoded = "".join(letter for letter in name if not "\udc80" <= letter <= "\udcff")
    return (0 < len(os.fsencode(name)) <= LONGEST_ID and is_shown(decoded) and not name.startswith(".")
            and not set(name) & set("/\\") and not PureWindowsPath(name).drive)


def _is_relative(path: str) -> bool:
    return bool(path) and "\0" not in path and not PurePosixPath(path).root and not PureWindowsPath(path).anchor


def _check_label_map(label_map: dict[int, int], labels: LabelSet) -> None:
    values = {label.value for label in labels}
    for number, value in label_map.items():
        if not 0 <= number <= LARGEST_NUMBER or value not in values | {0}:
            raise ValueError(f"The label map takes {number} to {value}, but numbers from 0 to {LARGEST_NUMBER} can be "
                             f"taken to those of the label set '{labels.name}', {sorted(values)}; run Training.prepare "
                             "again.")


def _check_slices(case: Case) -> None:
    if case.slices is not None and not (case.slices and 0 <= min(case.slices) <= max(case.slices) < max(case.shape)):
        raise ValueError(f"Case '{case.id}' lists {len(case.slices)} slices, some outside its {max(case.shape)} or "
                         f"none at all; list those to train on, or leave the list out for all.")


def check_unchanged(manifest: Manifest, case: Case) -> None:
    """Compare the files of ``case`` with the manifest's hashes.

    Raises:
        FileNotFoundError: a file has gone.
        ValueError: a file has changed since ``Training.prepare``.
    """
    paths = [(manifest.image_path(case), case.image_sha256)]
    if case.label is not None:
        paths.append((manifest.label_path(case), case.label_sha256 or ""))
    for path, expected in paths:
        if not path.is_file():
            raise FileNotFoundError(f"'{path}' of case '{case.id}' is gone; put it back or run Training.prepare again.")
        if file_sha256(path) != expected:
            raise ValueError(f"'{path}' has changed since the manifest was written; run Training.prepare again.")


def relabel(array: np.ndarray, label_map: dict[int, int]) -> np.ndarray:
    """Source numbers -> the label set's numbers, uint8, same shape; numbers outside ``label_map`` become 0."""
    source = array.astype(np.int64)
    other = max(label_map, default=0) + 1  # stands for all numbers beyond
    table = np.zeros(other + 1, dtype=np.uint8)
    for number, value in label_map.items():
        table[number] = value
    return table[np.where((source < 0) | (source > other), other, source)]


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write the manifest as JSON, in one move."""
    label_map = {str(number): value for number, value in manifest.label_map.items()}
    cases = [_case_to_json(case) for case in manifest.cases]
    write_json(path, {"format_version": FORMAT_VERSION, "modality": manifest.modality, "labels": manifest.labels.name,
                      "label_map": label_map, "cases": cases})


def _case_to_json(case: Case) -> dict[str, Any]:
    values = asdict(case)
    if case.slices is None:
        del values["slices"]
    return values


def read_manifest(path: str | Path) -> Manifest:
    """Read a manifest; no volume is opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a manifest, or one that breaks its own rules.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no manifest '{path}'; make one with python -m Training.prepare.")
    try:
        data = typed(read_json(path), dict, "it")
        version = data.get("format_version")
        said = _typed(data) if version == FORMAT_VERSION else {}
    except ValueError as error:
        raise ValueError(f"'{path}' is not a manifest ({error}); make one with python -m Training.prepare.") from error
    if not said:
        raise ValueError(f"'{path}' has manifest version {version!r:.40} but {FORMAT_VERSION} is read; run "
                         "Training.prepare again.")
    return Manifest(path.parent, said["modality"], get_label_set(said["labels"]), said["label_map"], said["cases"])


def _typed(data: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says, each field of its type.

    Raises:
        ValueError: the text is the cause alone.
    """
    said = fields(data, "it", {"format_version": int, "modality": str, "labels": str, "label_map": dict, "cases": list})
    cases = tuple(_case(number, case) for number, case in enumerate(said["cases"]))
    label_map = {_number(text): value for text, value in table_of(said["label_map"], int, "label_map").items()}
    return said | {"cases": cases, "label_map": label_map}


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise ValueError(f"label_map has {text!r:.40} in place of a number")
    return int(text)


def _case(number: int, data: Any) -> Case:
    what = f"case {number}"
    said = fields(data, what, {"id": str, "split": str, "image": str, "image_sha256": str, "voxels_sha256": str,
                               "shape": list, "spacing": list}, {"label": str, "label_sha256": str, "slices": list})
    said |= {"label": said.get("label"), "label_sha256": said.get("label_sha256")}
    said["shape"] = tuple(list_of(said["shape"], int, f"shape of {what}"))
    said["spacing"] = tuple(list_of(said["spacing"], float, f"spacing of {what}"))
    slices = {"slices": tuple(list_of(said["slices"], int, f"slices of {what}"))} if "slices" in said else {}
    return Case(**said | slices)
