"""Products of 8-bit integers on a CPU: weights quantized once per output, inputs per row as they come.

x W^T ~ (x_scale * round(x / x_scale)) (w_scale * round(W / w_scale))^T, each scale the largest magnitude over 127: the
products and their sums are exact, and what is lost is the rounding (Dettmers et al. 2022, section 2.1, "vector-wise").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LARGEST = 127
SMALLEST_SCALE = 1e-30  # of a row of zeros
AT_ONCE = 1 << 20  # numbers of input and output together: 4 MB stay in a processor's cache


@dataclass(frozen=True)
class Int8Weight:
    """A weight (out, in) as ``values`` (in, out) int8 times ``scales`` (out,)."""

    values: Tensor
    scales: Tensor


def quantized(weight: Tensor) -> Int8Weight:
    """A weight (out, in) in 8 bits."""
    values, scales = _quantized_rows(weight.detach())
    return Int8Weight(values.T.contiguous(), scales[:, 0])


def int8_product(x: Tensor, weight: Int8Weight, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for x (..., in): (..., out), some rows at a time."""
    rows = x.reshape(-1, x.shape[-1])
    out = rows.new_empty(len(rows), len(weight.scales))
    at_once = max(1, AT_ONCE // sum(weight.values.shape))
    for some, some_out in zip(rows.split(at_once), out.split(at_once), strict=True):
        values, scales = _quantized_rows(some)
        torch.mul(torch._int_mm(values, weight.values), scales, out=some_out)
        some_out.mul_(weight.scales)
        if bias is not None:
            some_out.add_(bias)
    return out.view(*x.shape[:-1], -1)


def _quantized_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, C) -> int8 values (N, C) and their scales (N, 1)."""
    scales = rows.abs().amax(dim=1, keepdim=True).clamp_(min=SMALLEST_SCALE).div_(LARGEST)
    return (rows / scales).round_().to(torch.int8), scales


def multiplies_int8() -> bool:
    """Whether this torch can, on this processor, and without overflow: some add up pairs of products in 16 bits."""
    largest = torch.full((32, 64), LARGEST, dtype=torch.int8)
    try:
        found = torch._int_mm(torch.cat([largest, -largest]), largest.T.contiguous())
    except (AttributeError, RuntimeError):
        return False
    return bool((found[:32] == 64 * LARGEST**2).all() and (found[32:] == -64 * LARGEST**2).all())
