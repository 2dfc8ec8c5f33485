"""Dice on the validation cases during training, on slices at the slab's size or on the volumes' grids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from SAMoraLib.inference.sliding_window import Windows, sliding_window
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.settings import Preprocessing
from Training.data.manifest import Manifest
from Training.data.slices import SliceCache, SliceDataset, build_cache
from Training.engine.loop import Validate
from Training.settings.optimisation import Optimisation


def dice_validation(model: nn.Module, manifest: Manifest, preprocessing: Preprocessing, cache: Path,
                    optimisation: Optimisation, depth: int = 1) -> Validate | None:
    """What ``fit`` calls to choose the best weights; None when the configuration never validates.

    Args:
        depth: slices that the model sees together; the one in the middle is measured.
    """
    if not optimisation.validate_every:
        return None
    slices = build_cache(manifest, manifest.of("validation"), preprocessing, cache)

    def validate(_: nn.Module) -> dict[str, float]:
        if preprocessing.spacing and isinstance(model, SegmentationModel):
            found = windowed(model, slices)
        else:
            found = slab_by_slab(model, slices, depth)
        return {"dice": mean_case_dice(found, slices, len(manifest.labels))}

    return validate


Found = Iterator[tuple[int, Tensor]]  # index of a slice in the cache, and its classes (h, w) int64


@torch.inference_mode()
def slab_by_slab(model: nn.Module, cache: SliceCache, depth: int = 1, batch_size: int = 8) -> Found:
    """Every slice, from the slab around it."""
    model.eval()
    slices = SliceDataset(cache, depth=depth)
    device = next(model.parameters()).device
    for start in range(0, len(slices), batch_size):
        indexes = range(start, min(start + batch_size, len(slices)))
        images = torch.stack([slices[0, index][0] for index in indexes]).to(device)
        yield from zip(indexes, model(images).logits[:, :, depth // 2].argmax(dim=1).cpu(), strict=True)


@torch.inference_mode()
def windowed(model: SegmentationModel, cache: SliceCache, batch_size: int = 8) -> Found:
    """Every slice of the volumes' grids, from sliding windows."""
    model.eval()
    for case in dict.fromkeys(cache.cases):
        first, count = cache.cases.index(case), cache.cases.count(case)

        def images(start: int, stop: int, first: int = first) -> Tensor:
            return torch.from_numpy(np.stack([cache.image(first + number) for number in range(start, stop)]))

        grid = (count, *cache.label(first).shape)
        for part, logits in sliding_window(Windows(model, images, grid, count, batch_size), 0, count):
            yield from zip(range(first + part.start, first + part.stop), logits.argmax(dim=1).cpu(), strict=True)


def mean_case_dice(found: Found, cache: SliceCache, num_classes: int) -> float:
    """Dice of each organ and case over all its slices, averaged; organs that a case does not have are left out."""
    cases = sorted(set(cache.cases))
    overlap = torch.zeros(len(cases), num_classes + 1)
    sizes = torch.zeros(len(cases), num_classes + 1)  # of both masks together
    for index, classes in found:
        label, case = torch.from_numpy(cache.label(index)).long(), cases.index(cache.cases[index])
        overlap[case] += torch.bincount(label[label == classes], minlength=num_classes + 1)
        for mask in (label, classes):
            sizes[case] += torch.bincount(mask.ravel(), minlength=num_classes + 1)
    organs = sizes > 0
    organs[:, 0] = False  # the background is no organ
    return float((2 * overlap[organs] / sizes[organs]).mean())
