"""Weights are plain, finite numbers: what a model computes with anything else is nothing, and it would not be seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool)


def require_finite(path: str | Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not plain numbers, or of which some are NaN or infinite.

    Args:
        path: the file that they come from, for the sentence.
        tensors: by name; of any types.

    Raises:
        ValueError: such a tensor; it names the first, and how many values are bad.
    """
    for name, value in tensors.items():
        if kind := _other_kind(value):
            raise ValueError(f"'{path}' holds {kind} in '{name}', where real numbers belong; save the weights as "
                             "float32, or get the file again from its source.")
    if bad := {name: count for name, value in tensors.items() if (count := not_finite(value))}:
        count = sum(bad.values())
        what = "1 value that is" if count == 1 else f"{count} values that are"
        raise ValueError(f"'{path}' holds {what} NaN or infinite as float32, in {len(bad)} of its tensors, first "
                         f"'{next(iter(bad))}'; get the file again from its source, or train it again.")


def not_finite(value: Tensor) -> int:
    """How many of a tensor's values are NaN or infinite in float32, in which models compute.

    NaN and infinities stay in a sum, so the sum of almost every tensor says at once that there are none.
    """
    if not value.is_floating_point():
        return 0
    numbers = value.to(torch.float32) if value.dtype == torch.float64 else value
    if torch.isfinite(numbers.sum(dtype=torch.float32)):
        return 0
    return int(numbers.numel() - torch.isfinite(numbers).sum())


def is_like(value: Tensor, place: Tensor) -> bool:
    """Whether a tensor fits a model's place: the same shape, and real numbers of any precision where those belong."""
    return value.shape == place.shape and value.is_floating_point() == place.is_floating_point()


def _other_kind(value: Tensor) -> str:
    """What a tensor holds in place of plain numbers; nothing if it does hold them."""
    if value.layout != torch.strided:
        return "a sparse table"
    if value.device.type == "meta":
        return "a shape without values"
    if value.is_complex():
        return f"complex numbers ({_named(value.dtype)})"
    return "" if value.dtype in PLAIN else f"numbers of the type {_named(value.dtype)}"


def _named(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
