"""The machine's limit for products of matrices, by whichever of torch's libraries is faster."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from SAMoraLib.encoders.linear import as_convolution
from Testing.benchmarks.timing import seconds_of

SHAPES = ((1568, 768, 3072), (1568, 3072, 768), (4096, 1024, 4096))  # rows, in, out: an encoder's, and a larger one
ROUNDS = 10


def matrix_peak(device: torch.device, rounds: int = ROUNDS, dtype: torch.dtype = torch.float32) -> float:
    """Multiplications and additions per second of the best product, in the best of some rounds."""
    return max(_rate(shape, device, rounds, dtype) for shape in SHAPES)


def _rate(shape: tuple[int, int, int], device: torch.device, rounds: int, dtype: torch.dtype) -> float:
    rows, width, out = shape
    x = torch.rand(rows, width, device=device, dtype=dtype)
    weight, bias = (torch.rand(*size, device=device, dtype=dtype) for size in ((out, width), (out,)))
    operations = (F.linear, as_convolution) if device.type == "cpu" else (F.linear,)
    fastest = min(seconds_of(partial(operation, x, weight, bias), device)
                  for operation in operations for _ in range(rounds))
    return 2 * rows * width * out / fastest
