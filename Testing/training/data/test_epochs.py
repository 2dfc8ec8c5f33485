from __future__ import annotations

import torch
from torch.utils.data import Dataset, default_collate

from Training.data.epochs import EpochDataset


class Squares(Dataset[tuple[torch.Tensor, ...]]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        epoch, index = key
        return torch.tensor(index**2), torch.tensor(epoch)


def test_a_sample_comes_with_its_epoch() -> None:
    samples = EpochDataset(Squares())
    assert len(samples) == 3
    value, seen, epoch = default_collate([samples[4, 2], samples[5, 0]])
    assert (value.tolist(), seen.tolist(), epoch.tolist()) == ([4, 0], [4, 5], [4, 5])
