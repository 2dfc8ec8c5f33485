"""One's own data: a folder per case, or nnU-Net's imagesTr and labelsTr, with the organs named by hand."""

from __future__ import annotations

from pathlib import Path

from SAMoraLib.labels import LabelSet
from Training.datasets.protocol import Source

VOLUME_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


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
    labels = {stem(path): path for path in (folder / "labelsTr").glob("*")}
    images = {stem(path).removesuffix("_0000"): path for path in (folder / "imagesTr").glob("*") if stem(path)}
    return [Source(case, path, labels.get(case)) for case, path in images.items()]


def stem(path: Path) -> str:
    """The name without its volume suffix; empty for other files, as hidden ones."""
    for suffix in VOLUME_SUFFIXES:
        if path.name.endswith(suffix) and not path.name.startswith("."):
            return path.name.removesuffix(suffix)
    return ""


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


def check_label_numbers(seen: dict[int, str], label_map: dict[int, int], explicit: bool) -> None:
    """Refuse numbers that nobody has named, and names for numbers that nobody has.

    Args:
        seen: number in the label files -> one that holds it.

    Raises:
        ValueError: without a label map, a number outside the label set; with one, a number that never occurs.
    """
    unnamed = sorted(set(seen) - set(label_map))
    if not explicit and unnamed:
        raise ValueError(f"The label volumes hold {sorted(seen)} but the label set knows {sorted(label_map)} "
                         f"({unnamed[0]} is in '{seen[unnamed[0]]}'); say what they mean with --label-map, numbers "
                         f"left out become background.")
    if explicit and seen and set(label_map) - set(seen):
        raise ValueError(f"--label-map names {sorted(set(label_map) - set(seen))} but the label volumes hold "
                         f"{sorted(seen)}; correct the numbers.")
