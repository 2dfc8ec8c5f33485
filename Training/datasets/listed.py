"""Data sets that list their files in a dataset.json: AMOS22 and the Medical Segmentation Decathlon (MSD)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from SAMoraLib.system.untrusted_json import read_json
from Training.data.typed import typed
from Training.datasets.folder import stem
from Training.datasets.protocol import Download, Source, collect, inner

AMOS_LAYOUT = "dataset.json, imagesTr/amos_0001.nii.gz, labelsTr/amos_0001.nii.gz, imagesVa, labelsVa, imagesTs"
AMOS_NUMBERS = dict(enumerate((
    "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior_vena_cava", "pancreas", "right_adrenal_gland", "left_adrenal_gland", "duodenum", "bladder",
    "prostate_or_uterus"), start=1))
FIRST_MR = 500  # AMOS's readme: smaller numbers are CT
Expected = Iterator[tuple[Source, list[Path]]]
Pair = tuple[Path, Path | None]


def find_amos(folder: Path, mr: bool = False) -> Download:
    """AMOS's scans of one modality: training, validation and, without labels, test."""
    root = inner(folder, "amos22", "AMOS22", "amos")
    chosen = ((source, files) for source, files in _amos(root)
              if (int(source.id.removeprefix("amos_")) >= FIRST_MR) == mr)
    return collect(root, chosen)


def _amos(root: Path) -> Expected:
    listed = _read(root)
    for key, ending, split in (("training", "Tr", "train"), ("validation", "Va", "validation"),
                               ("test", "Ts", "unlabelled")):
        names = {image.name for image, _ in listed[key]}
        if split != "train":  # not in every release's list
            names |= {path.name for path in (root / f"images{ending}").glob("amos_*.nii.gz")}
        for name in sorted(name for name in names if re.fullmatch(r"amos_[0-9]{1,6}\.nii\.gz", name)):
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
    for image, label in ((root / image, root / label) for image, label in listed["training"] if label):
        yield Source(stem(image), image, label), [image, label]
    for image in (root / image for image, _ in listed["test"]):
        if image.is_file():  # a file of its own to download
            yield Source(stem(image), image, None), [image]


def _read(root: Path) -> dict[str, list[Pair]]:
    """Part of the data set -> its images, each with its label where one is named."""
    path = root / "dataset.json"
    if not path.is_file():
        raise FileNotFoundError(f"There is no '{path}', which lists the files; give the folder of the unpacked "
                                f"download with --input.")
    try:
        listed = typed(read_json(path), dict, "it")
        return {key: _pairs(listed.get(key, []), key) for key in ("training", "validation", "test")}
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read ({error}); download it again.") from error


def _pairs(entries: Any, key: str) -> list[Pair]:
    return [_pair(entry, f"an entry of {key}") for entry in typed(entries, list, key)]


def _pair(entry: Any, what: str) -> Pair:
    """The two paths of an entry: a table, or an image's path alone."""
    table = {"image": entry} if isinstance(entry, str) else typed(entry, dict, what)
    label = table.get("label")
    return _path(table.get("image"), f"the image of {what}"), _path(label, f"the label of {what}") if label else None


def _path(text: Any, what: str) -> Path:
    """A path in the data set's own folder."""
    path = Path(typed(text, str, what))
    if "\0" in str(path) or path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{what} is {text!r:.80}, which is no path in its folder")
    return path


find_amos_mr = partial(find_amos, mr=True)
