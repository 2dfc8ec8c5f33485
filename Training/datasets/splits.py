"""Which case belongs to which split: the papers' lists, one's own, or dealt at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from SAMoraLib.system.untrusted_json import read_json
from Training.data.manifest import LABELLED_SPLITS, SPLITS
from Training.datasets.protocol import Source

FOLDER = Path(__file__).parent / "splits"


def published_split(name: str) -> dict[str, str]:
    """Case -> split of the file ``splits/NAME.json``."""
    lists = _read(name)
    return {case: split for split in LABELLED_SPLITS for case in lists.get(split, ())}


def few_shot_cases(name: str) -> tuple[str, ...]:
    """The few labelled training cases of the papers, out of which only slices with a label are used.

    Raises:
        ValueError: the papers name none.
    """
    cases = tuple(_read(name)["few_shot"]) if name else ()
    if not cases:
        raise ValueError("The papers name no few-shot cases of this data set; take a share of its slices with the "
                         "field 'fraction' of stage 2, or a list of slices with --few-shot-list.")
    return cases


def _read(name: str) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = read_json(FOLDER / f"{name}.json")
    return lists


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
