"""Labelled slices on which some organs count and the others are background."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from SAMoraLib.labels import LabelSet
from Training.data.slices import SliceDataset


class ChosenOrgans(Dataset[tuple[Tensor, Tensor]]):
    """``slices`` with the label 1, 2, ... of each of ``organs``, and 0 elsewhere; what is ignored stays so.

    Raises:
        ValueError: an organ that is not labelled.
    """

    def __init__(self, slices: SliceDataset, labels: LabelSet, organs: Sequence[str]) -> None:
        self.slices = slices
        self.values = torch.zeros(len(labels) + 1, dtype=torch.long)
        self.values[[labels.by_name(organ).value for organ in organs]] = torch.arange(1, len(organs) + 1)

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        image, label = self.slices[key]
        return image, torch.where(label < 0, label, self.values[label.clamp(min=0)])
