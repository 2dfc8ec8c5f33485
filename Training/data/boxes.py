"""One target and the box around it for every slab: what a model with boxes as prompts learns from (MA-SAM, table 4)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Region, Volume
from Training.data.slices import IGNORED, SliceDataset

RELAXATION = 0.05  # of the box's side, outwards: the paper's "relaxed" boxes


class BoxDataset(Dataset[tuple[Tensor, Tensor, Tensor, int]]):
    """Slabs with one organ each: image (C, D, S, S), label (D, S, S), box (4,) x0, y0, x1, y1, and the organ's number.

    The label is 1 on the organ, 0 elsewhere and ``IGNORED`` where nothing is known.

    The box is that of the whole organ, the same in all its slices, as a user draws it once; its faces are moved
    outwards by up to ``RELAXATION``. Slices without an organ are left out. An item is ``slabs[epoch, index]``.
    """

    def __init__(self, slabs: SliceDataset) -> None:
        self.slabs = slabs
        self.places = [place for place, at in enumerate(slabs.indexes) if slabs.cache.label(at).any()]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, int]:
        epoch, place = key[0], self.places[key[1]]
        at = self.slabs.indexes[place]
        rng = np.random.default_rng([self.slabs.seed, epoch, at, 1])  # the slab's own draws stay as without a box
        organs = np.unique(self.slabs.cache.label(at))
        target = int(rng.choice(organs[organs > 0]))
        image, label, outline = self.slabs.with_outlines((epoch, place), self.slabs.cache.outline(at, target)[None])
        box = torch.from_numpy(relaxed(enclosing(outline[0].numpy()), rng))
        return image, (label == target).long().masked_fill(label == IGNORED, IGNORED), box, target


def enclosing(outline: np.ndarray) -> np.ndarray:
    """First and last column and row of a mask (S, S) as x0, y0, x1, y1; all of it where the mask is empty."""
    if not outline.any():
        return np.array([0, 0, outline.shape[1] - 1, outline.shape[0] - 1], np.float32)
    sides = [np.flatnonzero(outline.any(axis=axis)) for axis in (0, 1)]
    return np.array([side[end] for end in (0, -1) for side in sides], np.float32)


def relaxed(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The box with every face moved outwards by up to ``RELAXATION`` of its side."""
    sides = np.tile(box[2:] - box[:2] + 1, 2)
    return (box + [-1, -1, 1, 1] * sides * rng.uniform(0, RELAXATION, 4)).astype(np.float32)


def boxes_around(labels: Volume, names: LabelSet, relaxation: float = 0.0) -> Mapping[str, Region]:
    """The tight box around every organ of a label volume, along the volume's own axes, or one larger on every side.

    Args:
        relaxation: by how much of its side each face is moved outwards, e.g. ``RELAXATION``.
    """
    boxes = {}
    for label in names:
        places = np.argwhere(labels.array == label.value)[:, ::-1]  # i, j, k
        if len(places):
            boxes[label.name] = _region(labels, places.min(axis=0) - 0.5, places.max(axis=0) + 0.5, relaxation)
    return boxes


def _region(volume: Volume, low: np.ndarray, high: np.ndarray, relaxation: float) -> Region:
    centre = volume.ijk_to_lps @ [*(low + high) / 2, 1]
    edges = volume.ijk_to_lps[:3, :3] * (high - low) * (1 + 2 * relaxation)
    return Region(tuple(centre[:3].tolist()), tuple(edges.ravel().tolist()))
