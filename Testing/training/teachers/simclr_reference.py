"""SimCLRv2's ResNet with selective kernels, written from google-research/simclr's resnet.py (TensorFlow 1) with the
module names of the converter Separius/SimCLRv2-Pytorch, as the oracle of the key mapping and of the forward pass."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def norm_relu(channels: int, relu: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU() if relu else nn.Identity())


class Selective(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        middle = max(channels // 16, 32)
        self.main_conv = nn.Sequential(conv(channels, 2 * channels, 3, stride), norm_relu(2 * channels))
        self.mixing_conv = nn.Sequential(conv(channels, middle, 1), norm_relu(middle), conv(middle, 2 * channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.main_conv(x).chunk(2, dim=1)
        a, b = self.mixing_conv((first + second).mean((2, 3), keepdim=True)).chunk(2, dim=1)
        weight = torch.sigmoid(a - b)  # a softmax of two
        return weight * first + (1 - weight) * second


class Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.shortcut = nn.Sequential(nn.Identity(), nn.Identity(), conv(inputs, outputs, 1))
        self.bn = norm_relu(outputs, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        ones = F.pad(torch.ones_like(x), (0, 1, 0, 1))
        total, count = (4 * F.avg_pool2d(y, 2, self.stride) for y in (F.pad(x, (0, 1, 0, 1)), ones))
        # Of average pooling "SAME" (stride 1), padding does not count; the fixed padding of stride 2 does.
        return self.bn(self.shortcut(total / (count if self.stride == 1 else 4)))


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int, project: bool) -> None:
        super().__init__()
        self.projection = Projection(inputs, 4 * channels, stride) if project else nn.Identity()
        self.net = nn.Sequential(conv(inputs, channels, 1), norm_relu(channels), Selective(channels, stride),
                                 conv(channels, 4 * channels, 1), norm_relu(4 * channels, relu=False))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.projection(x) + self.net(x))


class Stage(nn.Module):
    def __init__(self, inputs: int, channels: int, count: int, stride: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(Bottleneck(inputs if i == 0 else 4 * channels, channels, stride if i == 0 else 1,
                                                 i == 0) for i in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class FarMaxPool(nn.Module):
    """TensorFlow's "SAME" for even sizes: one row and column on the far side."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)


class ReferenceResNet(nn.Module):
    def __init__(self, layers: tuple[int, ...], channels: tuple[int, ...], stem: int) -> None:
        super().__init__()
        start = nn.Sequential(conv(3, stem, 3, 2), norm_relu(stem), conv(stem, stem), norm_relu(stem),
                              conv(stem, 2 * stem), norm_relu(2 * stem), FarMaxPool())
        widths = (2 * stem, *(4 * width for width in channels))
        stages = [Stage(widths[i], channels[i], layers[i], 1 if i == 0 else 2) for i in range(4)]
        self.net = nn.Sequential(start, *stages)
        self.fc = nn.Linear(widths[-1], 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


class ReferenceHead(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
                                     nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(),
                                     nn.Linear(width, 128, bias=False), nn.BatchNorm1d(128)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x
