"""Samples that know the epoch in which they are seen, for losses that change with it."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset


class EpochDataset(Dataset[tuple[Any, ...]]):
    """``slices[epoch, index]`` with the epoch as its last entry, which an interruption does not reset."""

    def __init__(self, slices: Dataset[tuple[Any, ...]]) -> None:
        self.slices = slices

    def __len__(self) -> int:
        return len(self.slices)  # type: ignore[arg-type]

    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, ...]:
        return *self.slices[key], key[0]
