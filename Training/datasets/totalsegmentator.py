"""TotalSegmentator's CT data set (1 and 2): 1,204 and 1,228 CTs of any part of the body, one mask file per organ."""

from __future__ import annotations

import csv
import io
import re
from functools import partial
from pathlib import Path

import numpy as np

from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Training.datasets.cases import check_grid
from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = "meta.csv, s0000/ct.nii.gz and s0000/segmentations/liver.nii.gz"
MASKS = {"spleen": "spleen", "kidney_right": "right_kidney", "kidney_left": "left_kidney", "gallbladder": "gallbladder",
         "esophagus": "esophagus", "liver": "liver", "stomach": "stomach", "aorta": "aorta",
         "inferior_vena_cava": "inferior_vena_cava", "portal_vein_and_splenic_vein": "portal_and_splenic_vein",
         "pancreas": "pancreas", "adrenal_gland_right": "right_adrenal_gland",
         "adrenal_gland_left": "left_adrenal_gland", "duodenum": "duodenum", "urinary_bladder": "bladder"}
NUMBERS = dict(enumerate(MASKS.values(), start=1))
LIST_BYTES = 4 << 20  # the published one has 200 kB
SPLITS = {"train": "train", "val": "validation", "test": "test"}


def find(folder: Path) -> Download:
    """The cases that meta.csv lists, in its split.

    Raises:
        FileNotFoundError: without a meta.csv.
        ValueError: a meta.csv without the columns image_id and split.
    """
    root = inner(folder, "Totalsegmentator_dataset_v201", "Totalsegmentator_dataset")
    return collect(root, (_case(root / case, split) for case, split in _listed(root / "meta.csv").items()))


def _listed(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no '{path}', which lists the cases; give the folder of the unpacked "
                                f"download with --input.")
    with path.open("rb") as file:
        content = file.read(LIST_BYTES + 1)
    if len(content) > LIST_BYTES:
        raise ValueError(f"'{path}' is longer than {LIST_BYTES} bytes; download it again.")
    split_of: dict[str, str] = {}
    try:
        for row in csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=";"):
            case, split = row["image_id"], SPLITS[row["split"]]
            if not re.fullmatch(r"\w{1,60}", case or "") or case in split_of:
                raise ValueError(f"the case {case!r:.80}, which is no name or stands twice")
            split_of[case] = split
    except (KeyError, ValueError, csv.Error) as error:
        raise ValueError(f"'{path}' lacks the column or knows the split {error}; its columns are image_id;...;split "
                         f"with {', '.join(SPLITS)}, so download it again.") from error
    return split_of


def _case(folder: Path, split: str) -> tuple[Source, list[Path]]:
    image = folder / "ct.nii.gz"
    masks = [folder / "segmentations" / f"{name}.nii.gz" for name in MASKS]
    return Source(folder.name, image, partial(_label, image, masks), split), [image, *masks]


def _label(image: Path, masks: list[Path]) -> Volume:
    """The masks as one volume; where two overlap, the later organ."""
    volume = read_volume(image)
    numbers = np.zeros(volume.array.shape, np.uint8)
    for number, path in enumerate(masks, start=1):
        mask = read_volume(path)
        check_grid(path.name, mask, volume)
        numbers[mask.array > 0] = number
    return volume.with_array(numbers)
