"""A folder of images and labels -> manifest.json. Volumes are read and checked, never copied.

    python -m Training.prepare --input DIR --output DIR --labels chaos_mr --modality MR
        --image mr.nii.gz --label label.nii.gz --split train=01,02 validation=21 test=31,32

Two layouts are understood: a sub-folder per case (CASE/IMAGE, CASE/LABEL), and nnU-Net's imagesTr and labelsTr.
Images are single files; write a DICOM series as one first (3D Slicer does).
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from SAMoraLib.card import Preprocessing, file_sha256
from SAMoraLib.labels import LABEL_SETS, LabelSet, get_label_set
from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume_io import read_volume
from Training.data.manifest import LABELLED_SPLITS, SPLITS, Case, Manifest, write_manifest

MANIFEST_NAME = "manifest.json"
VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
GRID_TOLERANCE_MM = 0.05  # origins that went through float32 headers differ by less


@dataclass(frozen=True)
class Source:
    """Where the files of one case lie."""

    id: str
    image: Path
    label: Path | None


def find_sources(folder: Path, image: str, label: str) -> list[Source]:
    """The cases in ``folder``, sorted by id.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: neither layout fits.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'; give the folder that holds the cases.")
    found = _paired_folders(folder) if (folder / "imagesTr").is_dir() else _case_folders(folder, image, label)
    if not found:
        raise ValueError(f"'{folder}' has neither sub-folders with '{image}' nor volumes in imagesTr; "
                         f"check --input and --image.")
    return sorted(found, key=lambda source: source.id)


def _case_folders(folder: Path, image: str, label: str) -> list[Source]:
    return [Source(case.name, case / image, case / label if (case / label).is_file() else None)
            for case in folder.iterdir() if (case / image).is_file()]


def _paired_folders(folder: Path) -> list[Source]:
    labels = {_stem(path): path for path in (folder / "labelsTr").glob("*")}
    images = {_stem(path).removesuffix("_0000"): path for path in (folder / "imagesTr").glob("*") if _stem(path)}
    return [Source(case, path, labels.get(case)) for case, path in images.items()]


def _stem(path: Path) -> str:
    """The name without its volume suffix; empty for other files, as hidden ones."""
    for suffix in VOLUME_SUFFIXES:
        if path.name.endswith(suffix) and not path.name.startswith("."):
            return path.name.removesuffix(suffix)
    return ""


def parse_splits(arguments: Iterable[str]) -> dict[str, str]:
    """["train=01,02", "test=31"] -> {"01": "train", "02": "train", "31": "test"}.

    Raises:
        ValueError: an unknown split, or a case in two splits.
    """
    split_of: dict[str, str] = {}
    for argument in arguments:
        split, _, cases = argument.partition("=")
        if split not in SPLITS:
            raise ValueError(f"Unknown split in '{argument}'; write SPLIT=CASE,CASE with {', '.join(SPLITS)}.")
        for case in filter(None, cases.split(",")):
            if split_of.setdefault(case, split) != split:
                raise ValueError(f"Case '{case}' is in the splits {split_of[case]} and {split}; list it once.")
    return split_of


def random_splits(sources: Sequence[Source], fractions: Sequence[float], seed: int) -> dict[str, str]:
    """Deal the labelled cases into train, validation and test; those without a label become "unlabelled".

    Raises:
        ValueError: the fractions do not add up to 1, or there are fewer cases than splits.
    """
    if len(fractions) != len(LABELLED_SPLITS) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"The fractions {list(fractions)} are not three shares of 1 for train, validation and test.")
    labelled = sorted(source.id for source in sources if source.label)
    order = [labelled[i] for i in np.random.default_rng(seed).permutation(len(labelled))]
    sizes = [max(1, round(fraction * len(order))) if fraction else 0 for fraction in fractions[1:]]
    if len(order) - sum(sizes) < (1 if fractions[0] else 0):
        raise ValueError(f"{len(order)} labelled cases are too few for the fractions {list(fractions)}; "
                         f"add cases or give --split lists.")
    split_of = {source.id: "unlabelled" for source in sources}
    for case in order:
        split_of[case] = "train"
    for split, size in zip(LABELLED_SPLITS[1:], sizes, strict=True):
        for case in order[:size]:
            split_of[case] = split
        order = order[size:]
    return split_of


def parse_label_map(text: str, labels: LabelSet) -> dict[int, int]:
    """"1=spleen,2=right_kidney" -> {1: value of spleen, ...}; an empty text maps every number to itself.

    Raises:
        ValueError: not of this form, or an organ outside ``labels``.
    """
    if not text:
        return {label.value: label.value for label in labels}
    label_map: dict[int, int] = {}
    for pair in text.split(","):
        number, _, organ = pair.partition("=")
        if not number.strip().isdecimal() or int(number) == 0:
            raise ValueError(f"'{pair}' is not NUMBER=ORGAN; write --label-map 1=spleen,2=right_kidney.")
        label_map[int(number)] = labels.by_name(organ.strip()).value
    return label_map


def check_pair(case: str, image: Volume, label: Volume) -> None:
    """Refuse a label volume on another grid than its image.

    Raises:
        ValueError: with what differs.
    """
    if image.array.shape != label.array.shape:
        raise ValueError(f"Case '{case}': the label has {label.array.shape} voxels but the image {image.array.shape}; "
                         f"resample the label to the image's grid.")
    for name, tolerance in (("spacing", 1e-3), ("origin", GRID_TOLERANCE_MM), ("direction", 1e-3)):
        ours, theirs = getattr(image, name), getattr(label, name)
        if not np.allclose(ours, theirs, rtol=0, atol=tolerance):
            raise ValueError(f"Case '{case}': the {name} of the label is {theirs} but that of the image {ours}; "
                             f"resample the label to the image's grid.")


def label_numbers(case: str, label: Volume) -> set[int]:
    """The numbers that occur in a label volume, without background.

    Raises:
        ValueError: a number is negative or not whole.
    """
    values = np.unique(label.array)
    if np.any(values != np.round(values)) or values[0] < 0:
        raise ValueError(f"Case '{case}': the label volume holds values such as {values[0]:g} and {values[-1]:g} that "
                         f"are no label numbers; give a volume of whole numbers from 0.")
    return {int(value) for value in values} - {0}


def voxels_sha256(volume: Volume) -> str:
    """Hash of the voxels in canonical order, the same for a copy in another type, format or orientation."""
    canonical, _ = to_canonical(volume)
    digest = hashlib.sha256(repr(canonical.array.shape).encode())
    digest.update(np.ascontiguousarray(canonical.array, dtype=np.float32).data)
    return digest.hexdigest()


def read_case(source: Source, split: str, root: Path) -> tuple[Case, set[int]]:
    """Read and check one case; its record, and the label numbers seen in it."""
    image = read_volume(source.image)
    numbers: set[int] = set()
    with_label = source.label if split != "unlabelled" else None
    if with_label:
        label = read_volume(with_label)
        check_pair(source.id, image, label)
        numbers = label_numbers(source.id, label)
    shape = (int(image.array.shape[0]), int(image.array.shape[1]), int(image.array.shape[2]))
    return Case(
        id=source.id, split=split,
        image=_relative(source.image, root), label=_relative(with_label, root) if with_label else None,
        image_sha256=file_sha256(source.image), label_sha256=file_sha256(with_label) if with_label else None,
        voxels_sha256=voxels_sha256(image), shape=shape, spacing=image.spacing,
    ), numbers


def _relative(path: Path, root: Path) -> str:
    try:
        return Path(os.path.relpath(path.resolve(), root.resolve())).as_posix()
    except ValueError as error:  # Windows: another drive
        raise ValueError(f"'{path}' is on another drive than '{root}'; put the manifest on the drive of the data.") \
            from error


def check_label_numbers(seen: set[int], label_map: dict[int, int], explicit: bool) -> None:
    """Refuse numbers that nobody has named, and names for numbers that nobody has.

    Raises:
        ValueError: without a label map, a number outside the label set; with one, a number that never occurs.
    """
    if not explicit and seen - set(label_map):
        raise ValueError(f"The label volumes hold {sorted(seen)} but the label set knows {sorted(label_map)}; "
                         f"say what they mean with --label-map, numbers left out become background.")
    if explicit and seen and set(label_map) - seen:
        raise ValueError(f"--label-map names {sorted(set(label_map) - seen)} but the label volumes hold "
                         f"{sorted(seen)}; correct the numbers.")


def prepare(
    sources: Sequence[Source], split_of: dict[str, str], root: Path, modality: str, labels: LabelSet,
    label_map_text: str = "",
) -> Manifest:
    """Read, check and describe the cases that ``split_of`` names.

    Raises:
        ValueError: a case is missing, damaged, on another grid than its label, holds unknown label numbers, or is
            the copy of one in another split.
    """
    known = {source.id: source for source in sources}
    missing = sorted(set(split_of) - set(known))
    if missing:
        raise ValueError(f"The splits name {', '.join(missing)} but the folder holds {', '.join(known)}.")
    label_map = parse_label_map(label_map_text, labels)
    cases, seen = [], set()
    for source in tqdm([known[case] for case in sorted(split_of)], desc="reading", unit="case", disable=None):
        case, numbers = read_case(source, split_of[source.id], root)
        cases.append(case)
        seen |= numbers
    check_label_numbers(seen, label_map, explicit=bool(label_map_text))
    return Manifest(root, modality, labels, label_map, tuple(cases))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.prepare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--input", type=Path, required=True, help="folder of the cases")
    parser.add_argument("--output", type=Path, required=True, help=f"folder that gets {MANIFEST_NAME}")
    parser.add_argument("--labels", choices=sorted(LABEL_SETS), required=True, help="the organs to learn")
    parser.add_argument("--modality", choices=Preprocessing.CHOICES["modality"], required=True)
    parser.add_argument("--image", default="image.nii.gz", help="name of the image in a case's folder")
    parser.add_argument("--label", default="label.nii.gz", help="name of the label volume in a case's folder")
    parser.add_argument("--label-map", default="", metavar="1=spleen,...",
                        help="what the numbers in the label files mean, if not the label set's own; others: background")
    parser.add_argument("--split", nargs="+", default=[], metavar="SPLIT=CASE,...",
                        help=f"cases of {', '.join(SPLITS)}; cases not named are left out")
    parser.add_argument("--fractions", nargs=3, type=float, default=(0.7, 0.15, 0.15), metavar="SHARE",
                        help="shares of train, validation and test when no --split is given")
    parser.add_argument("--seed", type=int, default=0, help="of the random split")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        run(args)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


def run(args: argparse.Namespace) -> None:
    sources = find_sources(args.input, args.image, args.label)
    split_of = parse_splits(args.split) or random_splits(sources, args.fractions, args.seed)
    manifest = prepare(sources, split_of, args.output, args.modality, get_label_set(args.labels), args.label_map)
    write_manifest(manifest, args.output / MANIFEST_NAME)
    counts = {split: sum(case.split == split for case in manifest.cases) for split in SPLITS}
    left_out = f", {len(sources) - len(split_of)} left out" if len(split_of) < len(sources) else ""
    print(f"{args.output / MANIFEST_NAME}: " + ", ".join(f"{n} {split}" for split, n in counts.items() if n) + left_out)


if __name__ == "__main__":
    main()
