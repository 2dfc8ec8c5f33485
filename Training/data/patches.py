"""Cubes for 3D models: cut at random out of the volumes' grids, augmented reproducibly every epoch (TP-Mamba).

Legend: d x h x w grid of a volume, D slices and S side of a cube.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from Training.data.augment import augment
from Training.data.slices import IGNORED, SliceDataset

ON_ORGANS = 0.5  # share of the cubes that are centred on a labelled voxel, if the slice has one


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """One cube around every slice: image (1, D, S, S) float32 and label (D, S, S) int64.

    An item is ``patches[epoch, index]``. The slice is the cube's middle one; where in the slice the cube lies is drawn
    anew every epoch, from seed, epoch and slice alone. Half of the cubes are centred on an organ, as by MONAI's
    RandCropByPosNegLabel: small organs would otherwise be rare. Grids smaller than the cube are filled with 0, in depth
    with the last slice.

    Args:
        slices: of a cache whose preprocessing has a spacing.
        side: S.
    """

    def __init__(self, slices: SliceDataset, side: int) -> None:
        self.slices = slices
        self.side = side

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        epoch, index = key
        slices = self.slices
        at = slices.indexes[index]
        rng = np.random.default_rng([slices.seed, epoch, at])
        corner = corner_of_patch(slices.cache.label(at), self.side, rng)
        slab = slices.cache.slab(at, slices.depth)
        image = np.stack([cut(slices.cache.image(number)[0], corner, self.side) for number in slab])
        label = np.stack([cut(slices.cache.label(number), corner, self.side) for number in slab])
        augmented, moved = augment(torch.from_numpy(image), torch.from_numpy(label), rng, slices.policy)
        assert moved is not None
        unknown = torch.tensor([number not in slices.labelled for number in slab.tolist()])
        return augmented[None], moved.long().masked_fill(unknown[:, None, None], IGNORED)


def corner_of_patch(label: np.ndarray, side: int, rng: np.random.Generator) -> tuple[int, int]:
    """First row and column of a square of ``side`` pixels in a slice (h, w): anywhere, or about a labelled pixel."""
    room = np.maximum(np.array(label.shape) - side, 0)
    labelled = np.argwhere(label)
    if len(labelled) and rng.random() < ON_ORGANS:
        corner = labelled[rng.integers(len(labelled))] - side // 2
    else:
        corner = rng.integers(room + 1)
    row, column = np.clip(corner, 0, room).tolist()
    return row, column


def cut(image: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    """(h, w) -> (S, S) from ``corner`` on, 0 beyond the image."""
    row, column = corner
    part = image[row:row + side, column:column + side]
    return np.pad(part, [(0, side - length) for length in part.shape])
