"""Whether two tensors are equal but for rounding, which differs between processors and numbers of threads."""

from __future__ import annotations

from torch import Tensor


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-4, what: str = "") -> None:
    """``actual`` is within ``tolerance`` of the largest magnitude in ``expected``, in every place.

    Rounding errors of a sum grow with its terms, not with its result: a bound on each number by itself, or one without
    a scale, would hold on one instruction set and fail on the next.
    """
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)} instead of {tuple(expected.shape)}"
    if not expected.numel():
        return
    off = float((actual.detach().double() - expected.detach().double()).abs().max())
    scale = float(expected.detach().double().abs().max())
    assert off <= tolerance * scale, f"{what}: off by {off:.2e} at a scale of {scale:.2e}"
