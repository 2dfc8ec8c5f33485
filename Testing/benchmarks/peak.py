"""The machine's limit for products of matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.kernels.linear import as_convolution
from Testing.benchmarks.precision import product_type
from Testing.benchmarks.timing import seconds_of

SHAPES = ((1568, 768, 3072), (1568, 3072, 768), (4096, 1024, 4096))  # rows, in, out: an encoder's, and a larger one
GPU_SHAPES = (*SHAPES, (8192, 8192, 8192))  # the others end before a large GPU is full
ROUNDS = 10
DATA_SHEETS = {"H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12}  # NVIDIA's, bfloat16, not sparse
Product = Callable[[Tensor, Tensor, Tensor], Tensor]  # of rows, a weight and a bias


@dataclass(frozen=True)
class Limits:
    """Multiplications and additions per second.

    Attributes:
        matrix: of the best product by the faster of torch's libraries.
        linear: of the best product by what torch itself takes for a layer.
        data_sheet: of the GPU by its maker, where it is listed; MFU is a share of this.
    """

    matrix: float
    linear: float
    data_sheet: float | None = None


def limits(device: torch.device) -> Limits:
    """This machine's."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return Limits(matrix_peak(device), linear_peak(device),
                  next((rate for part, rate in DATA_SHEETS.items() if part in name), None))


def matrix_peak(device: torch.device, rounds: int = ROUNDS) -> float:
    """Of the best product by the faster library, in the best of some rounds."""
    products = (F.linear, as_convolution) if device.type == "cpu" else (F.linear,)
    return max(linear_peak(device, rounds, product) for product in products)


def linear_peak(device: torch.device, rounds: int = ROUNDS, product: Product = F.linear) -> float:
    """Of the best product by torch's own layer, or by ``product``."""
    shapes = SHAPES if device.type == "cpu" else GPU_SHAPES
    return max(_rate(shape, device, rounds, product) for shape in shapes)


def _rate(shape: tuple[int, int, int], device: torch.device, rounds: int, product: Product) -> float:
    rows, width, out = shape
    x, weight, bias = (torch.rand(*size, device=device, dtype=product_type(device))
                       for size in ((rows, width), (out, width), (out,)))
    fastest = min(seconds_of(partial(product, x, weight, bias), device) for _ in range(rounds))
    return 2 * rows * width * out / fastest
