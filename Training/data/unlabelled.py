"""Which slices stage 1 sees: many, of several data sets, each content once, none of a case that is held out.

SAMora samples 100,000 CT slices of AMOS22, LiTS, KiTS and MSD. These share volumes: MSD's liver task is LiTS, and some
volumes come again resampled or cut. Thin slices, too, show almost the same as their neighbours.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.system.files import atomic_write
from SAMoraLib.volume.io import read_volume
from Training.data.checksums import ARCHIVE_FAULTS
from Training.data.few_shot import choose_count
from Training.data.manifest import Case, Manifest, check_unchanged
from Training.data.unfinished import sweep

SIDE = 16  # a fingerprint has SIDE x SIDE bits
WORDS = SIDE * SIDE // 32
NEAR = WORDS - 1  # bits; two fingerprints that differ in fewer bits than they have words share a word
STEP = 1 / 128  # a smaller rise of brightness is noise
BRIGHT, BODY = 0.1, 0.05  # a slice with fewer than 5 % of its area above 10 % shows no body
WINDOWS = {"CT": Preprocessing("CT", "hu_window", -200, 400, "none", SIDE + 1),  # Fed-MENU's window
           "MR": Preprocessing("MR", "percentile", 1, 99, "none", SIDE + 1)}


@dataclass(frozen=True)
class Sample:
    """What was drawn, and why the rest was not: numbers of volumes or slices."""

    manifest: Manifest
    copies: int
    without_body: int
    near_duplicates: int


class Seen:
    """Fingerprints (WORDS,) uint32 by their words: a near one has at least one word in common."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._at: dict[tuple[int, int], list[int]] = defaultdict(list)

    def is_near(self, fingerprint: np.ndarray) -> bool:
        """Whether one that was added differs in at most NEAR bits."""
        rows = {row for key in enumerate(fingerprint.tolist()) for row in self._at.get(key, ())}
        if not rows:
            return False
        different = np.stack([self._rows[row] for row in rows]) ^ fingerprint
        return bool(np.unpackbits(different.view(np.uint8), axis=1).sum(axis=1).min() <= NEAR)

    def add(self, fingerprint: np.ndarray) -> None:
        for key in enumerate(fingerprint.tolist()):
            self._at[key].append(len(self._rows))
        self._rows.append(fingerprint)


def sample_slices(manifests: Sequence[Manifest], count: int, seed: int, root: Path, cache: Path) -> Sample:
    """Draw ``count`` different slices of the training and unlabelled cases, spread over the cases by their slices.

    Held out are the validation and test cases of all manifests, wherever their content comes again.

    Args:
        root: folder of the manifest that is made, whose cases are all unlabelled.
        cache: folder for fingerprints, so that an interrupted run goes on.

    Raises:
        ValueError: manifests of several modalities, or too few slices.
        FileNotFoundError: a volume has gone.
    """
    if len({manifest.modality for manifest in manifests}) != 1:
        raise ValueError("The manifests are of CT and MR; sample each modality on its own.")
    sweep(cache)
    distinct, copies = _distinct(manifests)
    seen, kept, empty, near = Seen(), [], 0, 0
    for manifest, case in tqdm(distinct, desc="fingerprints", unit="case", disable=None):
        prints, body = fingerprints(manifest, case, cache)
        empty += int((~body).sum())
        for number in np.flatnonzero(body).tolist():
            if _held_out(case):
                seen.add(prints[number])
            elif seen.is_near(prints[number]):
                near += 1
            elif case.slices is None or number in case.slices:
                seen.add(prints[number])
                kept.append((manifest, case, number))
    if not 0 < count <= len(kept):
        raise ValueError(f"Cannot draw {count} of {len(kept)} different slices of {len(distinct)} volumes; add data "
                         f"sets with --manifest, or ask for fewer with --count.")
    cases = tuple(_drawn(kept, choose_count([_name(manifest, case) for manifest, case, _ in kept], count, seed), root))
    return Sample(replace(manifests[0], root=root, cases=cases), copies, empty, near)


def _distinct(manifests: Sequence[Manifest]) -> tuple[list[tuple[Manifest, Case]], int]:
    """Each volume once, those that are held out first; and how many copies were passed over."""
    cases = [(manifest, case) for manifest in manifests for case in manifest.cases]
    cases.sort(key=lambda pair: not _held_out(pair[1]))  # stable: otherwise in the order of the manifests
    first: dict[str, tuple[Manifest, Case]] = {}
    for manifest, case in cases:
        first.setdefault(case.voxels_sha256, (manifest, case))
    return list(first.values()), len(cases) - len(first)


def _held_out(case: Case) -> bool:
    return case.split in ("validation", "test")


def _name(manifest: Manifest, case: Case) -> str:
    return f"{manifest.root.resolve().name}_{case.id}"


def _drawn(kept: Sequence[tuple[Manifest, Case, int]], chosen: Sequence[int], root: Path) -> Iterator[Case]:
    slices: dict[str, list[int]] = defaultdict(list)
    case_of: dict[str, tuple[Manifest, Case]] = {}
    for manifest, case, number in (kept[index] for index in chosen):
        slices[_name(manifest, case)].append(number)
        case_of[_name(manifest, case)] = manifest, case
    for name, (manifest, case) in case_of.items():
        image = Path(os.path.relpath(manifest.image_path(case).resolve(), root.resolve())).as_posix()
        yield replace(case, id=name, split="unlabelled", image=image, label=None, label_sha256=None,
                      slices=tuple(slices[name]))


def fingerprints(manifest: Manifest, case: Case, cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Of every slice from the feet: its fingerprint (N, WORDS) uint32, and whether it shows a body (N,) bool."""
    path = cache / f"{case.image_sha256}.npz"
    kept = _kept(path)
    if kept is None:
        check_unchanged(manifest, replace(case, label=None))
        prepared = prepare_volume(read_volume(manifest.image_path(case)), WINDOWS[manifest.modality])
        small = prepared.slices(0, len(prepared.array))[:, 0]
        kept = fingerprint(small), (small > BRIGHT).mean(axis=(1, 2)) >= BODY
        with atomic_write(path, ".npz") as unfinished:
            np.savez(unfinished, prints=kept[0], body=kept[1])
    return kept


def _kept(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """What was computed before; None where nothing was, or it is damaged: the archive has checksums."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            prints, body = arrays["prints"], arrays["body"]
    except ARCHIVE_FAULTS:
        return None
    fits = (prints.dtype, body.dtype, prints.shape) == (np.uint32, bool, (*body.shape, WORDS))
    return (prints, body) if fits else None


def fingerprint(small: np.ndarray) -> np.ndarray:
    """Where brightness rises to the right: slices (N, SIDE + 1, SIDE + 1) in [0, 1] -> (N, WORDS) uint32.

    Windows, noise and resampling change a few bits. A word takes its bits from all rows, because whole rows are air.
    """
    rises = small[:, :SIDE, 1:] > small[:, :SIDE, :-1] + STEP
    bits = rises.reshape(len(small), -1, WORDS).transpose(0, 2, 1)
    return np.ascontiguousarray(np.packbits(bits, axis=2)).view(np.uint32)[..., 0]
