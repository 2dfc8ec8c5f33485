"""Volumes -> axial slices at the slab's size: cached on disk once, augmented reproducibly every epoch.

Legend: N slices of a case, D slices of a slab, S side of the slab in pixels, C channels (1, or 3 with neighbours).
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from SAMoraLib.preprocessing.grid import grid_labels, grid_shape, grid_slices
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import prepare_volume, resample_labels, with_neighbours
from SAMoraLib.system.files import unwritten
from SAMoraLib.system.leftovers import PREFIX
from SAMoraLib.volume.io import read_volume
from Training.data.augment import POLICIES, AugmentPolicy, View, augment
from Training.data.checksums import are_unchanged, write_checksums
from Training.data.manifest import Case, Manifest, check_unchanged, relabel
from Training.data.unfinished import remove, sweep

IGNORED = -100  # a label nobody gave (MA-SAM); torch's cross-entropy leaves out the same number
CACHE_VERSION = 3  # raise it when preprocessing changes what it computes from the same settings


@dataclass(frozen=True)
class SliceRef:
    """Where a slice comes from: slice ``number``, counted from the feet in canonical order, of case ``case``."""

    case: str
    number: int
    folder: Path


class SliceCache:
    """The slices of some cases at S x S, memory-mapped; indexes run through the cases in order.

    ``image(i)`` is (C, S, S) float32 in [0, 1], ``label(i)`` (S, S) uint8 in the label set's numbers, ``cases[i]`` the
    case of slice i; ``listed`` are the indexes that the manifest lets train (``Case.slices``), all where it says none.
    """

    def __init__(self, folders: dict[str, Path], chosen: Mapping[str, Collection[int]] | None = None) -> None:
        self.refs = tuple(SliceRef(case, number, folder) for case, folder in folders.items()
                          for number in range(len(_open(folder / "images.npy"))))
        self.cases = tuple(ref.case for ref in self.refs)
        numbers = {case: frozenset(slices) for case, slices in (chosen or {}).items()}
        self.listed = tuple(index for index, ref in enumerate(self.refs)
                            if ref.case not in numbers or ref.number in numbers[ref.case])

    def __len__(self) -> int:
        return len(self.refs)

    def image(self, index: int) -> np.ndarray:
        ref = self.refs[index]
        images, offsets = _open(ref.folder / "images.npy"), _open(ref.folder / "offsets.npy")
        numbers = with_neighbours(np.array([ref.number]), tuple(offsets), len(images))[0]
        return images[numbers].astype(np.float32)

    def label(self, index: int) -> np.ndarray:
        ref = self.refs[index]
        return np.array(_open(ref.folder / "labels.npy")[ref.number])

    def outline(self, index: int, value: int) -> np.ndarray:
        """Where an organ is in any slice of the case of slice ``index``: (S, S) uint8."""
        labels = _open(self.refs[index].folder / "labels.npy")
        return (labels == value).any(axis=0).astype(np.uint8)

    def slab(self, index: int, depth: int) -> np.ndarray:
        """Indexes of the ``depth`` slices around slice ``index``; the case's last one stands for those beyond it."""
        ref = self.refs[index]
        numbers = ref.number + np.arange(depth) - depth // 2
        return index - ref.number + np.clip(numbers, 0, len(_open(ref.folder / "images.npy")) - 1)


@lru_cache(maxsize=4096)  # a mapping each, no open file
def _open(path: Path) -> np.ndarray:
    return _array(path)


def build_cache(
    manifest: Manifest, cases: Sequence[Case], preprocessing: Preprocessing, folder: str | Path
) -> SliceCache:
    """Slices of ``cases``, computed for those that ``folder`` does not hold yet.

    The folder may be shared by splits, runs and processes: an entry is named by the hash of the files and the
    preprocessing, and appears at once when complete. What it holds is compared with its checksums, 1,500 slices of
    224 x 224 in under half a second, and a damaged entry is computed anew; one from before there were checksums is
    looked through for missing parts, and gets them.

    Raises:
        FileNotFoundError: a volume has gone.
        ValueError: a volume has changed since ``Training.prepare``, or cannot be read.
        OSError: the slices cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    entries = {case.id: folder / f"{case.id}-{_key(manifest, case, preprocessing)[:16]}" for case in cases}
    missing = [case for case in cases if not _is_whole(entries[case.id], case, preprocessing)]
    for case in tqdm(missing, desc="slicing", unit="case", disable=None if missing else True):
        _write_entry(manifest, case, preprocessing, entries[case.id])
    return SliceCache(entries, {case.id: case.slices for case in cases if case.slices is not None})


def _key(manifest: Manifest, case: Case, preprocessing: Preprocessing) -> str:
    label_map = sorted(manifest.label_map.items()) if case.label else None
    content = [CACHE_VERSION, case.image_sha256, case.label_sha256, label_map, preprocessing.to_json()]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_entry(manifest: Manifest, case: Case, preprocessing: Preprocessing, entry: Path) -> None:
    check_unchanged(manifest, case)
    arrays = slice_case(manifest, case, preprocessing)
    try:
        beside = Path(tempfile.mkdtemp(prefix=PREFIX, dir=entry.parent))
    except OSError as error:
        raise OSError(unwritten(entry, error.strerror)) from error
    damaged = beside.with_name(f"{beside.name}_damaged")
    try:
        for name, array in arrays.items():
            np.save(beside / f"{name}.npy", array, allow_pickle=False)
        write_checksums(beside, [f"{name}.npy" for name in arrays])
        if entry.exists() and not _is_whole(entry, case, preprocessing):
            print(f"'{entry}' was damaged, and is computed anew.", file=sys.stderr, flush=True)
            entry.replace(damaged)
        _open.cache_clear()
        beside.replace(entry)
    except OSError as error:
        if not _is_whole(entry, case, preprocessing):  # otherwise another process was faster, with the same content
            raise OSError(unwritten(entry, error.strerror)) from error
    finally:
        remove(beside)
        remove(damaged)


def _is_whole(entry: Path, case: Case, preprocessing: Preprocessing) -> bool:
    """Whether an entry holds a case's arrays, of their types and sizes, as they were written."""
    try:
        images, offsets = _array(entry / "images.npy"), _array(entry / "offsets.npy")
        labels = _array(entry / "labels.npy") if case.label else None
    except (OSError, ValueError, EOFError):  # also of a header that speaks of more than there is
        return False
    sides = images.shape[1:] if preprocessing.spacing else (preprocessing.image_size,) * 2
    if (images.ndim, images.dtype, images.shape[1:]) != (3, np.float16, sides) or not len(images):
        return False
    if (offsets.ndim, offsets.dtype.kind, len(offsets)) != (1, "i", preprocessing.channels):
        return False
    if labels is not None and (labels.shape, labels.dtype) != (images.shape, np.uint8):
        return False
    names = ("images.npy", "offsets.npy") + (() if labels is None else ("labels.npy",))
    return are_unchanged(entry, names)


def _array(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(path)
    array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def slice_case(manifest: Manifest, case: Case, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """One case: "images" (N, S, S) float16 in [0, 1], "offsets" (C,), and "labels" (N, S, S) uint8 if it has any.

    With a spacing all are on the volume's grid, (d, h, w), see ``SAMoraLib.preprocessing.grid``.
    """
    volume = read_volume(manifest.image_path(case))
    prepared = prepare_volume(volume, preprocessing)
    alone = replace(prepared, offsets=(0,))  # neighbours are put together when a slice is read
    depth, *_ = grid_shape(prepared, preprocessing.spacing)
    arrays = {"images": grid_slices(alone, preprocessing.spacing, 0, depth)[:, 0].astype(np.float16),
              "offsets": np.array(prepared.offsets)}
    if case.label:
        numbers = relabel(read_volume(manifest.label_path(case)).array, manifest.label_map)
        # As the image, so that rounding in the label's header cannot orient it differently.
        oriented = prepared.reorientation.apply(numbers)
        arrays["labels"] = (grid_labels(oriented, prepared, preprocessing.spacing) if preprocessing.spacing else
                            resample_labels(oriented, prepared.box, preprocessing.image_size))
    return arrays


class SliceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Slabs with labels for stage 2: image (C, D, S, S) float32 and label (D, S, S) int64, one around every slice.

    An item is ``slices[epoch, index]``. Its augmentation depends on seed, epoch and index alone, so a resumed run
    sees the same pixels; the epoch travels with the index because a worker process would not see an attribute change.

    Args:
        indexes: the slices to use, as from ``few_shot.choose_listed``; all that are listed if None. The others, where a
            slab shows them, are labelled ``IGNORED``.
        depth: D.
    """

    def __init__(
        self, cache: SliceCache, indexes: Sequence[int] | None = None, seed: int = 0,
        policy: AugmentPolicy = POLICIES["none"], depth: int = 1,
    ) -> None:
        self.cache = cache
        self.indexes = list(cache.listed if indexes is None else indexes)
        self.labelled = frozenset(self.indexes)
        self.seed = seed
        self.policy = policy
        self.depth = depth

    def __len__(self) -> int:
        return len(self.indexes)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        image, label, _ = self.with_outlines(key, np.zeros((0, 1, 1), np.uint8))
        return image, label

    def with_outlines(self, key: tuple[int, int], outlines: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """An item, and further masks (M, S, S) uint8 moved as its labels are."""
        epoch, index = key
        at = self.indexes[index]
        slab = self.cache.slab(at, self.depth)
        image = torch.from_numpy(np.concatenate([self.cache.image(number) for number in slab]))
        labels = [torch.from_numpy(self.cache.label(number)) for number in slab]
        masks = torch.stack([*labels, *torch.from_numpy(outlines)])
        image, moved = augment(image, masks, np.random.default_rng([self.seed, epoch, at]), self.policy)
        assert moved is not None
        labelled = torch.tensor([number in self.labelled for number in slab.tolist()])
        label = moved[:self.depth].long().masked_fill(~labelled[:, None, None], IGNORED)
        return image.unflatten(0, (self.depth, -1)).transpose(0, 1), label, moved[self.depth:]


class ViewDataset(Dataset[tuple[Tensor, ...]]):
    """Slices without labels for stage 1: the tensors that ``view`` makes of an image, each (C, D=1, S, S) float32.

    An item is ``slices[epoch, index]``, see ``SliceDataset``.

    Args:
        view: for instance ``augment.two_views`` or ``augment.noisy_and_clean``.
    """

    def __init__(self, cache: SliceCache, view: View, seed: int = 0) -> None:
        self.cache = cache
        self.view = view
        self.seed = seed

    def __len__(self) -> int:
        return len(self.cache.listed)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, at = key[0], self.cache.listed[key[1]]
        image = torch.from_numpy(self.cache.image(at))
        return tuple(view[:, None] for view in self.view(image, np.random.default_rng([self.seed, epoch, at])))
