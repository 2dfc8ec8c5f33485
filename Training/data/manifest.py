"""The manifest: which volumes there are, which split each belongs to, and what its label numbers mean."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import LabelSet, get_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.files import file_sha256, write_json

FORMAT_VERSION = 1
LABELLED_SPLITS = ("train", "validation", "test")
SPLITS = (*LABELLED_SPLITS, "unlabelled")  # the last for stage 1 only


@dataclass(frozen=True)
class Case:
    """One volume with its label volume.

    Attributes:
        image: path relative to the manifest's folder, with forward slashes.
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
        if self.modality not in Preprocessing.CHOICES["modality"]:
            raise ValueError(f"Unknown modality '{self.modality}'; "
                             f"choose from {', '.join(Preprocessing.CHOICES['modality'])}.")

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
        raise ValueError(f"Unknown split '{split}'; choose from {', '.join(SPLITS)}.")


def _check_cases(cases: tuple[Case, ...]) -> None:
    seen: set[str] = set()
    splits_of_voxels: dict[str, dict[str, str]] = defaultdict(dict)
    for case in cases:
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


def _check_slices(case: Case) -> None:
    if case.slices is not None and not (case.slices and set(case.slices) <= set(range(max(case.shape)))):
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
    table = np.zeros(max(int(source.max(initial=0)), *label_map) + 1, dtype=np.uint8)
    for number, value in label_map.items():
        table[number] = value
    return table[source]


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
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["format_version"] != FORMAT_VERSION:
            raise ValueError(f"'{path}' has manifest version {data['format_version']} but {FORMAT_VERSION} is read; "
                             f"run Training.prepare again.")
        return _from_json(data, path.parent)
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"'{path}' is not a manifest ({error}); make one with python -m Training.prepare.") from error


def _from_json(data: dict[str, Any], root: Path) -> Manifest:
    cases = tuple(_case_from_json(case) for case in data["cases"])
    label_map = {int(number): int(value) for number, value in data["label_map"].items()}
    return Manifest(root, data["modality"], get_label_set(data["labels"]), label_map, cases)


def _case_from_json(data: dict[str, Any]) -> Case:
    slices = {"slices": tuple(data["slices"])} if data.get("slices") is not None else {}
    return Case(**data | {"shape": tuple(data["shape"]), "spacing": tuple(data["spacing"])} | slices)
