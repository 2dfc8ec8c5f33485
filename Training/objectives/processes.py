"""Values that the processes of a run share, with gradients that reach all of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


def summed_over_processes(values: Tensor) -> Tensor:
    """The sum over all processes of a run, with its gradient, so that a batch has one Dice wherever its slices are.

    The loss is then the same in every process, and the mean of the gradients that DistributedDataParallel takes is the
    gradient of that loss.
    """
    total: Tensor = _Sum.apply(values) if _are_several() else values
    return total


def gathered(rows: Tensor) -> tuple[Tensor, int]:
    """The rows (N, C) of all processes one after another, with gradients to each, and where one's own begin."""
    if not _are_several():
        return rows, 0
    everyone: Tensor = _Rows.apply(rows)
    return everyone, distributed.get_rank() * len(rows)


def _are_several() -> bool:
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


class _Sum(torch.autograd.Function):
    """Every process has the sum, so the gradient of a summand is the sum of the processes' gradients."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return _sum(values)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient)


class _Rows(torch.autograd.Function):
    """Every process has all rows, so the gradient of one's own is the sum of what the processes send back to them."""

    @staticmethod
    def forward(_: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format)
                 for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _sum(gradient).chunk(distributed.get_world_size())[distributed.get_rank()]


def _sum(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
