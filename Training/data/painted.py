"""Slices of phantom anatomy in random contrasts: supervision without any real volume (domain randomisation)."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from SAMoraLib.card import Preprocessing
from SAMoraLib.demo.painting import paint_random
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.preprocess import prepare_volume, resample_labels
from SAMoraLib.whole_file import whole_file
from Training.data.augment import AugmentPolicy, augment


class PaintedSlices(Dataset[tuple[Tensor, Tensor]]):
    """Structure maps (N, S, S) that get a new contrast each time they are asked for.

    ``slices[epoch, index]`` is an image (1, 1, S, S) in [0, 1] and its structures (1, S, S), int64.
    """

    def __init__(self, structures: np.ndarray, seed: int, policy: AugmentPolicy) -> None:
        self.structures, self.seed, self.policy = structures, seed, policy

    def __len__(self) -> int:
        return len(self.structures)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        structures = self.structures[index][None]
        image = torch.from_numpy(paint_random(structures, rng))
        image, label = augment(image, torch.from_numpy(structures), rng, self.policy)
        assert label is not None
        return image[None], label.long()


def phantom_structures(seeds: range, preprocessing: Preprocessing, cache: Path, workers: int) -> np.ndarray:
    """Axial structure maps (N, S, S) uint8 of the phantoms ``seeds``, each made once and kept in ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    size = preprocessing.image_size
    paths = {seed: cache / f"structures-{size}-{preprocessing.crop}-{seed}.npy" for seed in seeds}
    missing = [(seed, preprocessing, path) for seed, path in paths.items() if not path.exists()]
    with ProcessPoolExecutor(workers) as pool:
        list(tqdm(pool.map(_write_structures, missing), total=len(missing), desc="phantoms", disable=not missing))
    return np.concatenate([np.load(path) for path in paths.values()])


def _write_structures(job: tuple[int, Preprocessing, Path]) -> None:
    seed, preprocessing, path = job
    torch.set_num_threads(1)
    # Slice thickness varies as it does in the clinic; slices are seen one by one.
    rng = np.random.default_rng(seed)
    phantom = make_phantom(seed, spacing=(1.8, 1.8, float(rng.uniform(4, 8))), all_organs=False)
    box = prepare_volume(phantom.ct, preprocessing).box
    structures = resample_labels(phantom.structures, box, preprocessing.image_size)
    with whole_file(path, ".npy") as unfinished:
        np.save(unfinished, structures)
