"""Prompt mode: one 3D box per target (MA-SAM, table 4).

A box prompts the decoder with its projection on the slice plane, the same in all its slices; the slices are encoded
once for all targets. A voxel belongs to a target if it lies in its box and the target's logit is above the
background's, and to the one with the higher probability where boxes overlap.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.features import Features
from SAMoraLib.labels import LabelSet
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.slices import PreparedVolume
from SAMoraLib.volume import Region, Volume

NEVER = -1e4  # a logit that no other loses to, and that can be interpolated


@dataclass(frozen=True, eq=False)
class Target:
    """Where an organ is to be found.

    Attributes:
        value: in the label set.
        inside: voxels of its box, canonical (D, H, W) bool.
        box: x0, y0, x1, y1 of its projection, pixels of the slab.
    """

    value: int
    inside: np.ndarray
    box: tuple[float, float, float, float]


def find_targets(boxes: Mapping[str, Region], labels: LabelSet, volume: Volume, prepared: PreparedVolume
                 ) -> tuple[Target, ...]:
    """The boxes in a volume.

    Raises:
        ValueError: no box, an unknown organ, or a box that holds no voxel of the volume.
    """
    if not boxes:
        raise ValueError("This model segments what lies in a box; give one for every organ, e.g. --box "
                         f"{labels.names[0]}=XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX.")
    targets = []
    for name, region in boxes.items():
        value = labels.by_name(name).value
        inside = prepared.reorientation.apply(region.mask(volume))
        targets.append(Target(value, inside, _projection(inside, prepared)))
    return tuple(targets)


def _projection(inside: np.ndarray, prepared: PreparedVolume) -> tuple[float, float, float, float]:
    """First and last pixel centre of a box on the slab, along x and y."""
    box, size = prepared.box, prepared.image_size
    outline = np.any(inside, axis=0)
    height, width = box.shape
    x0, x1 = (_ends(outline.any(axis=0)) - box.x0 + 0.5) * size / width - 0.5
    y0, y1 = (_ends(outline.any(axis=1)) - box.y0 + 0.5) * size / height - 0.5
    return float(x0), float(y0), float(x1), float(y1)


def _ends(marked: np.ndarray) -> np.ndarray:
    """The first and the last place that is marked."""
    return np.flatnonzero(marked)[[0, -1]]


def decode_targets(model: SegmentationModel, features: Features, numbers: np.ndarray, targets: Sequence[Target]
                   ) -> Tensor:
    """Logits (N, K, s, s) of slices ``numbers``: each target's above the background, whose own are 0."""
    background = features.embedding.new_zeros(len(numbers), 1, 1)
    columns = {0: background}
    for target in targets:
        if target.inside[numbers].any():
            box = torch.tensor([target.box], device=background.device)
            logits = model.decode(replace(features, boxes=box)).low_res_logits[0].float()
            columns[target.value] = logits[target.value] - logits[0]
    never = background + NEVER
    everyone = [columns.get(value, never) for value in range(model.num_classes + 1)]
    return torch.stack(torch.broadcast_tensors(*everyone), dim=1)


def forbid_outside(targets: Sequence[Target], number: int, prepared: PreparedVolume, logits: Tensor, rows: slice,
                   columns: slice) -> None:
    """No target beyond its box, on logits (K, h, w) of slice ``number`` at these pixels of the prepared box; in place.
    """
    for target in targets:
        inside = torch.from_numpy(prepared.box.crop(target.inside[number])[rows, columns])
        logits[target.value].masked_fill_(~inside.to(logits.device), NEVER)
