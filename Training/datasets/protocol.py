"""What is said of a data set, and what is found of it in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from SAMoraLib.labels import LabelSet
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume

Read = Callable[[], Volume]
BACKGROUND = ""

# What else an organ may count as, where a label set does not tell it apart.
WITHIN = {
    "right_kidney": "kidney", "left_kidney": "kidney", "kidney_tumour": "kidney",
    "right_adrenal_gland": "adrenal_glands", "left_adrenal_gland": "adrenal_glands",
    "liver_tumour": "liver", "pancreas_tumour": "pancreas",
}


@dataclass(frozen=True)
class Source:
    """Where a case comes from.

    Attributes:
        image: a file that is read where it lies, or a function that makes a volume of what cannot be read as one.
        label: the same for the label volume; None where the data set publishes none.
        split: where the download itself says it, as folders or lists of its own.
    """

    id: str
    image: Path | Read
    label: Path | Read | None
    split: str | None = None


@dataclass(frozen=True)
class Download:
    """What a folder holds of a data set.

    Attributes:
        cases: those whose files are all there.
        missing: the other files, relative to ``folder``.
        expected: how many files there should be.
    """

    folder: Path
    cases: tuple[Source, ...]
    missing: tuple[str, ...]
    expected: int


@dataclass(frozen=True)
class Protocol:
    """One kind of image of a data set, and how the papers use it.

    Attributes:
        title: for messages.
        layout: the published layout, one example.
        find: what a folder holds.
        numbers: number in the label files -> organ, or ``BACKGROUND`` for what no model here learns.
        labels: the label set that is meant if none is asked for.
        preprocessing: window, crop and size of the paper that ``docs/datasets.md`` names.
        split: file in ``splits/``; empty where the download says it, or where cases are dealt at random.
        whole_body: cases may show none of the organs; those are left out.
    """

    title: str
    layout: str
    find: Callable[[Path], Download]
    numbers: Mapping[int, str]
    labels: str
    preprocessing: Preprocessing
    split: str = ""
    whole_body: bool = False


def ct_window(low: float, high: float, size: int) -> Preprocessing:
    """Clip to low..high HU, whole slices stretched to ``size``."""
    return Preprocessing("CT", "hu_window", low, high, "none", size)


def mr_percentiles(low: float, high: float, size: int) -> Preprocessing:
    """Clip to percentiles of the body's voxels, whole slices stretched to ``size``."""
    return Preprocessing("MR", "percentile", low, high, "none", size)


def inner(folder: Path, *candidates: str) -> Path:
    """The first of ``candidates`` that is in ``folder``, for downloads that are given from further up; or ``folder``.

    Raises:
        FileNotFoundError: no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'; give the folder of the download.")
    return next((folder / name for name in candidates if (folder / name).is_dir()), folder)


def collect(folder: Path, expected: Iterable[tuple[Source, Sequence[Path]]]) -> Download:
    """Sort cases into those that are complete and files that are missing; each comes with the files it needs."""
    cases, missing, count = [], [], 0
    for case, files in expected:
        absent = [path for path in files if not path.exists()]
        missing += [path.relative_to(folder).as_posix() for path in absent]
        count += len(files)
        if not absent:
            cases.append(case)
    return Download(folder, tuple(cases), tuple(missing), count)


def complete(download: Download, protocol: Protocol, partial: bool) -> tuple[Source, ...]:
    """The cases, if they are all there, or if ``partial`` says that some will do.

    Raises:
        ValueError: nothing is there, or files are missing.
    """
    if not download.cases:
        raise ValueError(f"'{download.folder}' holds no case of {protocol.title}, whose layout is {protocol.layout}"
                         f"{_examples(download.missing)}; give the folder of the unpacked download with --input.")
    if download.missing and not partial:
        raise ValueError(f"'{download.folder}' lacks {len(download.missing)} of the {download.expected} files and "
                         f"folders of {protocol.title}{_examples(download.missing)}; complete the download (its layout "
                         f"is {protocol.layout}), or take the {len(download.cases)} complete cases with --partial.")
    return download.cases


def _examples(missing: Sequence[str]) -> str:
    if not missing:
        return ""
    return f" (not there: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''})"


def label_map_of(protocol: Protocol, labels: LabelSet) -> dict[int, int]:
    """Number in the files -> number in ``labels``; what ``labels`` leaves out becomes background.

    Raises:
        ValueError: an organ of ``labels`` that nobody has drawn in this data set.
    """
    names = {number: _counts_as(organ, labels) for number, organ in protocol.numbers.items()}
    if lacking := sorted(set(labels.names) - set(names.values())):
        raise ValueError(f"{protocol.title} has no label for {', '.join(lacking)} of the label set '{labels.name}'; "
                         f"its own is '{protocol.labels}', choose a set of what it labels with --labels.")
    return {number: labels.by_name(name).value for number, name in names.items() if name}


def _counts_as(organ: str, labels: LabelSet) -> str:
    while organ and organ not in labels.names:
        organ = WITHIN.get(organ, BACKGROUND)
    return organ
