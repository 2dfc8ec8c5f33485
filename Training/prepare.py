"""A data set -> manifest.json. Volumes are read and checked; only what is not a volume file is converted.

    python -m Training.prepare synapse --input Abdomen --output runs/synapse
    python -m Training.prepare chaos --part ct --input CHAOS_Train_Sets --output runs/chaos_ct
    python -m Training.prepare --input DIR --output DIR --labels chaos_mr --modality MR
        --image mr.nii.gz --label label.nii.gz --split train=01,02 validation=21 test=31,32

Published data sets are read in their own layouts (docs/datasets.md). Without a name it is one's own folder: a
sub-folder per case (CASE/IMAGE, CASE/LABEL), or nnU-Net's imagesTr and labelsTr; an image is a single file.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from SAMoraLib.labels import LABEL_SETS, LabelSet, get_label_set
from SAMoraLib.preprocessing.settings import SCANS
from Training.data.few_shot import read_slice_list
from Training.data.manifest import SPLITS, Case, Manifest, write_manifest
from Training.datasets.cases import Checked, read_case
from Training.datasets.files import image_and_label
from Training.datasets.folder import check_label_numbers, find_sources, parse_label_map
from Training.datasets.protocol import Protocol, Source, complete, label_map_of
from Training.datasets.splits import few_shot_cases, parse_splits, published_split, random_splits
from Training.datasets.table import DATA_SETS
from Training.settings.program import program

MANIFEST_NAME = "manifest.json"
FOLDER = "folder"
FRACTIONS = (0.7, 0.15, 0.15)


def prepare(
    sources: Sequence[Source], split_of: dict[str, str], root: Path, modality: str, labels: LabelSet,
    label_map_text: str = "",
) -> Manifest:
    """Read, check and describe the cases of one's own folder that ``split_of`` names.

    Raises:
        ValueError: a case is missing, damaged, empty, on another grid than its label, holds unknown label numbers, or
            is the copy of one in another split.
    """
    label_map = parse_label_map(label_map_text, labels)
    checked = read_cases(sources, split_of, root, label_map)
    seen = {number: one.case.label or "" for one in checked for number in sorted(one.numbers)}
    check_label_numbers(seen, label_map, explicit=bool(label_map_text))
    return Manifest(root, modality, labels, label_map, with_organs(checked))


def read_cases(
    sources: Sequence[Source], split_of: dict[str, str], root: Path, label_map: dict[int, int],
    known: Collection[int] | None = None,
) -> list[Checked]:
    """The cases that ``split_of`` names, read and checked, in the order of their names."""
    of_name = {source.id: source for source in sources}
    if missing := sorted(set(split_of) - set(of_name)):
        raise ValueError(f"The splits name {', '.join(missing)} but the folder holds {', '.join(of_name)}.")
    checked = []
    for name in tqdm(sorted(split_of), desc="reading", unit="case", disable=None):
        files = image_and_label(of_name[name], root / "volumes")
        checked.append(read_case(name, files, split_of[name], root, label_map, known))
    return checked


def with_organs(checked: Sequence[Checked]) -> tuple[Case, ...]:
    """The records.

    Raises:
        ValueError: a label volume shows none of the organs.
    """
    for one in checked:
        if one.case.label and not one.labelled:
            raise ValueError(f"Case '{one.case.id}': the label '{Path(one.case.label).name}' shows no organ of the "
                             f"label set; correct it, or leave the case out, or put it into the split unlabelled.")
    return tuple(one.case for one in checked)


def prepare_published(args: argparse.Namespace) -> tuple[Manifest, int]:
    """Read, check and describe a published data set; also how many of its cases are left out.

    Raises:
        FileNotFoundError: no such folder, or without the list of its files.
        ValueError: files are missing, or as in ``prepare``.
    """
    protocol = choose_part(args.data_set, args.part, args.input)
    labels = get_label_set(args.labels or protocol.labels)
    label_map = label_map_of(protocol, labels)
    listed = read_slice_list(args.few_shot_list) if args.few_shot_list else None
    few = few_shot_cases(protocol.split) if args.few_shot else listed
    sources = complete(protocol.find(args.input), protocol, args.partial)
    split_of = few_training_cases(splits_of(sources, protocol, args), few)
    checked = read_cases(sources, split_of, args.output, label_map, known=protocol.numbers)
    if protocol.whole_body:
        checked = [one for one in checked if one.labelled or not one.case.label]
    chosen = [one if few is None else replace(one, case=few_slices(one, listed)) for one in checked]
    print(f"{protocol.title}; preprocessing of the papers: {protocol.preprocessing}")
    manifest = Manifest(args.output, protocol.preprocessing.modality, labels, label_map, with_organs(chosen))
    return manifest, len(sources) - len(chosen)


def choose_part(data_set: str, part: str | None, folder: Path) -> Protocol:
    """The part of a data set that was named, or the first of which the folder holds a case; or the first.

    Raises:
        ValueError: an unknown part.
    """
    parts = DATA_SETS[data_set]
    if part is not None:
        if part not in parts:
            raise ValueError(f"{data_set} has no part '{part}'; choose from {', '.join(parts)}.")
        return parts[part]
    first = next(iter(parts.values()))
    if folder.is_dir() and len(parts) > 1:
        return next((protocol for protocol in parts.values() if protocol.find(folder).cases), first)
    return first


def splits_of(sources: Sequence[Source], protocol: Protocol, args: argparse.Namespace) -> dict[str, str]:
    """Case -> split: one's own, the paper's, the download's, or by chance."""
    if args.split:
        return parse_splits(args.split)
    names = {source.id for source in sources}
    if args.fractions is None and protocol.split:
        return {case: split for case, split in published_split(protocol.split).items() if case in names}
    if args.fractions is None and all(source.split for source in sources):
        return {source.id: source.split or "" for source in sources}
    return random_splits(sources, args.fractions or FRACTIONS, args.seed)


def few_training_cases(split_of: dict[str, str], few: Collection[str] | None) -> dict[str, str]:
    """With only ``few`` labelled training cases, if given; the others become unlabelled.

    Raises:
        ValueError: one of the few is no training case.
    """
    if few is None:
        return split_of
    if others := sorted(case for case in few if split_of.get(case) != "train"):
        raise ValueError(f"The few-shot list names {', '.join(others[:3])}, which are no training cases here; correct "
                         f"the list, or the splits with --split.")
    return {case: "unlabelled" if split == "train" and case not in few else split for case, split in split_of.items()}


def few_slices(one: Checked, listed: dict[str, tuple[int, ...]] | None) -> Case:
    """A training case with its listed slices, or, without a list, with those that show an organ.

    Raises:
        ValueError: a listed slice is not there.
    """
    if one.case.split != "train":
        return one.case
    if listed is None:
        return replace(one.case, slices=one.labelled)
    numbers = listed[one.case.id]
    if max(numbers) >= len(one.from_feet):
        raise ValueError(f"The few-shot list names slice {max(numbers)} of case '{one.case.id}', which has "
                         f"{len(one.from_feet)} axial slices; give the list of this data set.")
    return replace(one.case, slices=tuple(sorted(one.from_feet[number] for number in numbers)))


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.prepare", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data_set", nargs="?", default=FOLDER, choices=(*DATA_SETS, FOLDER), metavar="DATA_SET",
                        help=f"{', '.join(DATA_SETS)}, or {FOLDER} (the default) for one's own")
    parser.add_argument("--input", type=Path, required=True, help="folder of the cases, or of the unpacked download")
    parser.add_argument("--output", type=Path, required=True,
                        help=f"folder that gets {MANIFEST_NAME}, and volumes/ where something must be converted")
    parser.add_argument("--labels", choices=sorted(LABEL_SETS), help="the organs to learn, if not the data set's own")
    parser.add_argument("--split", nargs="+", default=[], metavar="SPLIT=CASE,...",
                        help=f"cases of {', '.join(SPLITS)}; cases not named are left out")
    parser.add_argument("--fractions", nargs=3, type=float, metavar="SHARE",
                        help=f"shares of train, validation and test by chance, if no split is published: {FRACTIONS}")
    parser.add_argument("--seed", type=int, default=0, help="of the random split")
    own = parser.add_argument_group(FOLDER)
    own.add_argument("--modality", choices=SCANS)
    own.add_argument("--image", default="image.nii.gz", help="name of the image in a case's folder")
    own.add_argument("--label", default="label.nii.gz", help="name of the label volume in a case's folder")
    own.add_argument("--label-map", default="", metavar="1=spleen,...",
                     help="what the numbers in the label files mean, if not the label set's own; others: background")
    published = parser.add_argument_group("published data sets")
    published.add_argument("--part", metavar="PART", help="; ".join(f"{name}: {', '.join(parts)}" for name, parts
                                                                    in DATA_SETS.items() if len(parts) > 1))
    published.add_argument("--partial", action="store_true", help="take the complete cases of a partial download")
    published.add_argument("--few-shot", action="store_true",
                           help="the papers' few labelled cases alone (la: 4, promise12: 3), others unlabelled")
    published.add_argument("--few-shot-list", type=Path, metavar="FILE",
                           help="only the slices of a list, a name per line: case0005_slice067")
    return parser


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    options = parser()
    args = options.parse_args(arguments)
    if args.data_set == FOLDER and not (args.labels and args.modality):
        options.error("one's own folder needs --labels and --modality")
    run(args)


def run(args: argparse.Namespace) -> None:
    manifest, left_out = prepare_folder(args) if args.data_set == FOLDER else prepare_published(args)
    write_manifest(manifest, args.output / MANIFEST_NAME)
    splits = Counter(case.split for case in manifest.cases)
    counts = {split: splits[split] for split in SPLITS} | {"left out": left_out}
    print(f"{args.output / MANIFEST_NAME}: " + ", ".join(f"{n} {split}" for split, n in counts.items() if n))


def prepare_folder(args: argparse.Namespace) -> tuple[Manifest, int]:
    sources = find_sources(args.input, args.image, args.label)
    split_of = parse_splits(args.split) or random_splits(sources, args.fractions or FRACTIONS, args.seed)
    manifest = prepare(sources, split_of, args.output, args.modality, get_label_set(args.labels), args.label_map)
    return manifest, len(sources) - len(split_of)


if __name__ == "__main__":
    main()
