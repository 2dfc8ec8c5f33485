"""``nn.Linear`` through the faster of torch's two CPU libraries.

torch gives products of float32 matrices to MKL, which keeps to AVX2 on AMD processors that have AVX-512, and
convolutions to oneDNN, which asks the processor: there the same product as a 1 x 1 convolution takes about half the
time, forward and backward (docs/decisions/0010). Sums are added up in another order, so results differ by rounding.
"""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.kernels.int8 import Int8Weight, int8_product, quantized
from SAMoraLib.packages.subclassed import as_subclass

FEW_WEIGHTS = 1 << 16  # fewer, and rounding the input takes what products of 8-bit integers save
_OF_ONE_PIXEL = (0, 0), (1, 1), (1, 1)  # padding, stride and dilation of a 1 x 1 convolution
FEW_ROWS = 64  # fewer, and putting the weights into oneDNN's order costs more than it brings


class Linear(nn.Linear):
    """``nn.Linear`` by the faster library, or in 8 bits; see ``replace_linears``."""

    int8: Int8Weight | None = None  # the weight as it is multiplied with, where that is to be in 8 bits

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if self.int8 is not None:
            return int8_product(x, self.int8, self.bias)
        return product(x, self.weight, self.bias)


def replace_linears(module: nn.Module) -> None:
    """Make every plain Linear in ``module`` one of ours; parameters keep their names.

    ``build_encoder`` does so once, when all adapters are in place: nobody else needs to know of it.
    """
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.Linear:
                setattr(parent, name, as_subclass(Linear, child))


def multiply_in_int8(module: nn.Module) -> None:
    """Let the wide ones of our Linears in ``module`` multiply 8-bit integers from now on, without gradients."""
    for layer in module.modules():
        if isinstance(layer, Linear) and layer.weight.numel() >= FEW_WEIGHTS:
            layer.int8 = quantized(layer.weight)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for x (..., in) and W (out, in), as torch's ``linear``."""
    many = x.numel() >= FEW_ROWS * x.shape[-1]
    return (as_convolution if many and convolutions_are_faster(x) else F.linear)(x, weight, bias)


def as_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``product`` as a 1 x 1 convolution of an image that is one pixel wide; channels last, it is a view."""
    image = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    # By name, because with one thread ``conv2d`` takes a loop of torch's own, half as fast.
    rows = torch.mkldnn_convolution(image, weight[:, :, None, None], bias, *_OF_ONE_PIXEL, 1)
    return rows.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def in_groups(x: Tensor, weights: Tensor) -> Tensor:
    """x W^T group by group, for x (N, g, in) and W (g, out, in): (N, g, out)."""
    groups, out, channels = weights.shape
    image = x.reshape(1, len(x), 1, -1).permute(0, 3, 1, 2)
    rows = torch.mkldnn_convolution(image, weights.reshape(-1, channels, 1, 1), None, *_OF_ONE_PIXEL, groups)
    return rows.permute(0, 2, 3, 1).view(len(x), groups, out)


def convolutions_are_faster(x: Tensor) -> bool:
    """Whether MKL would multiply ``x`` with half of what the processor can do."""
    return (x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            and processor_is_half_used())


@cache
def processor_is_half_used() -> bool:
    """An AMD processor with AVX-512, and a torch with oneDNN."""
    listed = Path("/proc/cpuinfo")
    vendor = listed.read_text(encoding="utf-8", errors="replace") if listed.exists() else platform.processor()
    return ("AuthenticAMD" in vendor and torch.backends.cpu.get_cpu_capability() == "AVX512"
            and torch.backends.mkldnn.is_available())
