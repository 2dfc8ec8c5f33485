"""Data sets that list their files in a dataset.json: AMOS22 and the Medical Segmentation Decathlon (MSD)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from Training.datasets.folder import stem
from Training.datasets.protocol import Download, Source, collect, inner

AMOS_LAYOUT = "dataset.json, imagesTr/amos_0001.nii.gz, labelsTr/amos_0001.nii.gz, imagesVa, labelsVa, imagesTs"
AMOS_NUMBERS = dict(enumerate((
    "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "pancreas", "right_adrenal_gland", "left_adrenal_gland", "duodenum", "bladder",
    "prostate_or_uterus"), start=1))
FIRST_MR = 500  # AMOS's readme: smaller numbers are CT
Expected = Iterator[tuple[Source, list[Path]]]


def find_amos(folder: Path, mr: bool = False) -> Download:
    """AMOS's scans of one modality: training, validation and, without labels, test."""
    root = inner(folder, "amos22", "AMOS22", "amos")
    chosen = ((source, files) for source, files in _amos(root)
              if (int(source.id.rpartition("_")[2]) >= FIRST_MR) == mr)
    return collect(root, chosen)


def _amos(root: Path) -> Expected:
    listed = _read(root)
    for key, ending, split in (("training", "Tr", "train"), ("validation", "Va", "validation"),
                               ("test", "Ts", "unlabelled")):
        names = {_path(entry).name for entry in listed.get(key, ())}
        if split != "train":  # not in every release's list
            names |= {path.name for path in (root / f"images{ending}").glob("amos_*.nii.gz")}
        for name in sorted(names):
            image, label = root / f"images{ending}" / name, root / f"labels{ending}" / name
            labelled = split != "unlabelled"
            yield (Source(stem(image), image, label if labelled else None, split),
                   [image, label] if labelled else [image])


def find_task(task: str, folder: Path) -> Download:
    """A task of MSD, given its folder (``TASK...``) or the one above."""
    root = next(iter(sorted(inner(folder).glob(f"{task}*"))), folder)
    return collect(root, _task(root) if root.name.startswith(task) else [])


def _task(root: Path) -> Expected:
    listed = _read(root)
    for entry in listed.get("training", ()):
        image, label = root / _path(entry), root / entry["label"]
        yield Source(stem(image), image, label), [image, label]
    for entry in listed.get("test", ()):
        image = root / _path(entry)
        if image.is_file():  # a file of its own to download
            yield Source(stem(image), image, None), [image]


def _read(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(f"There is no '{path}', which lists the files; give the folder of the unpacked "
                                f"download with --input.")
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(listed, dict):
            raise ValueError("no table")
        return listed
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read ({error}); download it again.") from error


def _path(entry: dict[str, str] | str) -> Path:
    return Path(entry if isinstance(entry, str) else entry["image"])


find_amos_mr = partial(find_amos, mr=True)
