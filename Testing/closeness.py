"""Whether two results are equal but for rounding, which differs between processors and numbers of threads."""

from __future__ import annotations

import os
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

# Rounding leaves a few 1e-6 (float32) and 1e-15 (float64) of a small model's largest number on every instruction set.
TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-4}
# `make test-processors` asks for a tenth of every tolerance: what passes there has a margin of ten everywhere else.
SHARE = float(os.environ.get("SAMORA_TOLERANCE_SHARE", "1"))

Numbers: TypeAlias = Tensor | np.ndarray | float


def assert_close(actual: Numbers, expected: Numbers, tolerance: float | None = None, *,
                 scale: Tensor | float | None = None, what: str = "result") -> None:
    """``actual`` is within ``tolerance`` of the largest magnitude in ``expected``, in every place.

    Rounding errors of a sum grow with its terms, not with its result: a bound on each number by itself, or one without
    a scale, would hold on one instruction set and fail on the next. Where the terms cancel (the gradient of a key's
    bias is zero), ``scale`` tells how large they are. Half precisions have no tolerance of their own.
    """
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} instead of {expected.dtype}"
    actual, expected = (torch.as_tensor(numbers).detach() for numbers in (actual, expected))
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if tolerance is None:
        tolerance = max(TOLERANCES[actual.dtype], TOLERANCES[expected.dtype])
    if expected.numel():
        off = float((actual.double() - expected.double()).abs().max())
        largest = torch.as_tensor(expected if scale is None else scale).detach().double().abs().max()
        allowed = tolerance * SHARE * float(largest)
        assert off <= allowed, f"{what}: off by {off:.2e}, where {allowed:.2e} are allowed"


def assert_same_labels(found: Tensor | np.ndarray, expected: Tensor | np.ndarray) -> None:
    """Equal but for one voxel in a thousand: where two classes are as good as equal, rounding chooses between them."""
    found, expected = (torch.as_tensor(labels) for labels in (found, expected))
    assert found.shape == expected.shape, f"{tuple(found.shape)} instead of {tuple(expected.shape)}"
    others = int((found != expected).sum())
    assert others <= SHARE * found.numel() / 1000, f"{others} of {found.numel()} voxels have another label"
