"""Slices of phantom anatomy in random contrasts: supervision without any real volume (domain randomisation)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from SAMoraLib.demo.painting import paint_ct, paint_random
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import TISSUES
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import normalise, prepare_volume, resample_labels, with_neighbours
from SAMoraLib.system.files import atomic_write
from Training.data.augment import AugmentPolicy, augment
from Training.data.checksums import ARCHIVE_FAULTS
from Training.data.slices import IGNORED
from Training.data.unfinished import sweep
from Training.data.workers import do_all

SLICE_MM = (4.0, 8.0)  # slice thickness, which varies as it does in the clinic
BOX_MM = (350.0, 450.0)  # side of the square around a phantom's body


class PaintedSlices(Dataset[tuple[Tensor, Tensor]]):
    """Structure maps that get a new contrast each time they are asked for.

    ``slices[epoch, index]`` is an image (C, 1, S, S) in [0, 1] and its structures (1, S, S), int64.

    Args:
        phantoms: structure maps (N, S, S) uint8 of each phantom.
        preprocessing: its ``neighbours`` says whether the adjacent slices are shown too, its window how a CT looks.
        ct: probability that a slice is painted in HU, as the phantoms' own CTs are, instead of in a random contrast.
        untold: organs of the Synapse labels whose structures are painted, but ``IGNORED`` in the labels.
    """

    def __init__(self, phantoms: Sequence[np.ndarray], preprocessing: Preprocessing, ct: float, seed: int,
                 policy: AugmentPolicy, untold: Sequence[str] = ()) -> None:
        self.phantoms, self.preprocessing = phantoms, preprocessing
        self.ct, self.seed, self.policy = ct, seed, policy
        self.labels = torch.tensor([IGNORED if tissue.organ in untold else number
                                    for number, tissue in enumerate(TISSUES)])
        self.places = [(phantom, number) for phantom, maps in enumerate(phantoms) for number in range(len(maps))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        phantom, number = self.places[index]
        maps = self.phantoms[phantom]
        offsets = (-1, 0, 1) if self.preprocessing.neighbours else (0,)
        structures = maps[with_neighbours(np.array([number]), offsets, len(maps))[0]]
        image, moved = augment(torch.from_numpy(self._paint(structures, rng)), torch.from_numpy(structures), rng,
                               self.policy)
        assert moved is not None
        middle = len(offsets) // 2
        return image[:, None], self.labels[moved[middle:middle + 1].long()]

    def _paint(self, structures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if not self.ct or rng.random() >= self.ct:
            return paint_random(structures, rng)
        in_plane = rng.uniform(*BOX_MM) / structures.shape[-1]
        hu = paint_ct(structures, (in_plane, in_plane, rng.uniform(*SLICE_MM)), rng)
        return normalise(hu, (self.preprocessing.low, self.preprocessing.high))


def phantom_structures(seeds: range, preprocessing: Preprocessing, cache: Path, workers: int) -> list[np.ndarray]:
    """Axial structure maps (N, S, S) uint8 of each phantom of ``seeds``, made once and kept in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    size = preprocessing.image_size
    sweep(cache)
    paths = {seed: cache / f"structures-{size}-{preprocessing.crop}-{seed}.npz" for seed in seeds}
    missing = [(seed, preprocessing, path) for seed, path in paths.items() if _kept(path, size) is None]
    do_all(_write_structures, missing, workers, "phantoms")
    return [_read(path, size) for path in paths.values()]


def _kept(path: Path, size: int) -> np.ndarray | None:
    """What was made before; None where nothing was, or it is damaged: the archive has checksums."""
    try:
        return _read(path, size) if path.is_file() else None
    except ARCHIVE_FAULTS:
        return None


def _read(path: Path, size: int) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        structures: np.ndarray = arrays["structures"]
    if structures.dtype != np.uint8 or structures.shape[1:] != (size, size) or not len(structures):
        raise ValueError(f"'{path}' holds other arrays than phantoms; delete it.")
    return structures


def _write_structures(job: tuple[int, Preprocessing, Path]) -> None:
    seed, preprocessing, path = job
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    phantom = make_phantom(seed, spacing=(1.8, 1.8, float(rng.uniform(*SLICE_MM))), all_organs=False)
    box = prepare_volume(phantom.ct, preprocessing).box
    structures = resample_labels(phantom.structures, box, preprocessing.image_size)
    with atomic_write(path, ".npz") as unfinished:
        np.savez(unfinished, structures=structures)
