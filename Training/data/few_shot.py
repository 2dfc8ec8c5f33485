"""Which labelled slices a few-shot run may see."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

LIST_BYTES = 4 << 20  # a list of a hundred thousand slices has 2 MB


def choose_slices(cases: Sequence[str], fraction: float, seed: int) -> list[int]:
    """A random ``fraction`` of the slices, spread over the cases; sorted indexes.

    SAMora's supplement (A.2) takes "10% of the training data (221 slices) from different subjects" out of all axial
    slices, so slices without any organ count and may be drawn here too: to leave them out would need the labels of
    slices that a few-shot user has not labelled. Every case contributes in proportion to its slices and at least
    once; if there are more cases than slices to draw, that many cases contribute one slice each.

    Args:
        cases: the case of each slice (``SliceCache.cases``).
        fraction: above 0, up to 1; at least one slice is drawn.

    Raises:
        ValueError: the fraction is outside (0, 1], or there are no slices.
    """
    if not 0 < fraction <= 1 or not cases:
        raise ValueError(f"Cannot draw the fraction {fraction} of {len(cases)} slices; give one above 0, up to 1.")
    return choose_count(cases, max(1, round(fraction * len(cases))), seed)


def choose_listed(cases: Sequence[str], listed: Sequence[int], fraction: float, seed: int) -> list[int]:
    """``choose_slices`` among those slices alone that are ``listed`` (``SliceCache.listed``)."""
    their_cases = [cases[index] for index in listed]
    return [listed[index] for index in choose_slices(their_cases, fraction, seed)]


def choose_count(cases: Sequence[str], count: int, seed: int) -> list[int]:
    """``count`` random slices, spread over the cases as ``choose_slices`` does; sorted indexes."""
    rng = np.random.default_rng(seed)
    names, case_of = np.unique(np.asarray(cases), return_inverse=True)
    counts = _share(np.bincount(case_of), count, rng)
    drawn = [rng.choice(np.flatnonzero(case_of == case), counts[case], replace=False) for case in range(len(names))]
    return sorted(int(index) for index in np.concatenate(drawn))


def _share(sizes: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    """Split ``total`` into one count per case: one each, the rest by largest remainder of the proportional share."""
    if total <= len(sizes):
        counts = np.zeros(len(sizes), dtype=int)
        counts[rng.choice(len(sizes), total, replace=False)] = 1
        return counts
    ideal = total * sizes / sizes.sum()
    counts = np.maximum(1, np.floor(ideal)).astype(int)
    while counts.sum() != total:
        step = int(np.sign(total - counts.sum()))
        open_cases = counts < sizes if step > 0 else counts > 1
        gap = np.where(open_cases, step * (ideal - counts), -np.inf)
        counts[int(np.argmax(gap))] += step
    return counts


def read_slice_list(path: Path) -> dict[str, tuple[int, ...]]:
    """Case -> slices of a list with a name per line, such as H-SAM's train_220.txt (221 names): case0005_slice067.

    The number counts from 0 along the third axis of the published volume.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line of another form, or no line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no list of slices '{path}'; give a text file with names as "
                                "case0005_slice067.")
    slices: dict[str, set[int]] = defaultdict(set)
    with path.open("rb") as file:
        content = file.read(LIST_BYTES + 1)
    if len(content) > LIST_BYTES:
        raise ValueError(f"'{path}' is longer than {LIST_BYTES} bytes; give a list with a name per line.")
    for line in content.decode("utf-8-sig", errors="backslashreplace").split():
        match = re.fullmatch(r"(.+)_slice([0-9]{1,6})(\.np[yz])?", line)
        if not match:
            raise ValueError(f"'{path}' has the line {line!r:.80} but a name per line is read, as case0005_slice067; "
                             f"correct the list.")
        slices[match[1]].add(int(match[2]))
    if not slices:
        raise ValueError(f"'{path}' is empty; give a list with a name per line, as case0005_slice067.")
    return {case: tuple(sorted(numbers)) for case, numbers in slices.items()}
