"""Dice on the validation cases during training, on slices at the slab's size."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from SAMoraLib.card import Preprocessing
from Training.config import Optimisation
from Training.data.manifest import Manifest
from Training.data.slices import SliceCache, SliceDataset, build_cache
from Training.loop import Validate


def dice_validation(model: nn.Module, manifest: Manifest, preprocessing: Preprocessing, cache: Path,
                    optimisation: Optimisation) -> Validate | None:
    """What ``fit`` calls to choose the best weights; None when the configuration never validates."""
    if not optimisation.validate_every:
        return None
    slices = build_cache(manifest, manifest.of("validation"), preprocessing, cache)

    def validate(_: nn.Module) -> dict[str, float]:
        return {"dice": mean_case_dice(model, slices, len(manifest.labels))}

    return validate


@torch.inference_mode()
def mean_case_dice(model: nn.Module, cache: SliceCache, num_classes: int, batch_size: int = 8) -> float:
    """Dice of each organ and case over all its slices, averaged; organs that a case does not have are left out."""
    model.eval()
    slices = SliceDataset(cache)
    device = next(model.parameters()).device
    cases = sorted(set(cache.cases))
    overlap = torch.zeros(len(cases), num_classes + 1)
    sizes = torch.zeros(len(cases), num_classes + 1)  # of both masks together
    for start in range(0, len(slices), batch_size):
        indexes = range(start, min(start + batch_size, len(slices)))
        images = torch.stack([slices[0, index][0] for index in indexes]).to(device)
        for index, found in zip(indexes, model(images).logits.argmax(dim=1).cpu(), strict=True):
            label, case = slices[0, index][1], cases.index(cache.cases[index])
            overlap[case] += torch.bincount(label[label == found], minlength=num_classes + 1)
            sizes[case] += torch.bincount(label.ravel(), minlength=num_classes + 1)
            sizes[case] += torch.bincount(found.ravel(), minlength=num_classes + 1)
    organs = sizes > 0
    organs[:, 0] = False  # the background is no organ
    return float((2 * overlap[organs] / sizes[organs]).mean())
