"""SimCLRv2's network (Chen et al. 2020, arXiv:2006.10029): a wide ResNet with selective kernels and a deep head.

timm has the blocks. Where timm and the published weights' own code (google-research/simclr, resnet.py) compute
something else, this follows the latter: both kernels are 3 x 3 without dilation, the mixing layer has at least 32
channels, and max pooling and the first shortcut pad on the far side alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from SAMoraLib.packages.torchvision import importable_torchvision

with importable_torchvision():
    from timm.layers import convert_sync_batchnorm
    from timm.models.resnet import Bottleneck, ResNet
    from timm.models.sknet import SelectiveKernelBottleneck

PROJECTION = 128  # channels in which views are compared


@dataclass(frozen=True)
class SimclrSize:
    """Size of the network.

    Attributes:
        layers: blocks of each stage.
        channels: inner width of each stage's blocks; the features are four times as wide as the last.
        stem: width of the first two convolutions.
    """

    layers: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    stem: int


R50_2X_SK = SimclrSize((3, 4, 6, 3), (128, 256, 512, 1024), 64)  # ResNet-50 (2x + SK): 140.3 M, 4096 features
TINY = SimclrSize((1, 1, 1, 1), (8, 16, 32, 64), 8)  # for tests and laptops: 256 features


class Simclr(nn.Module):
    """The network, its pooled features and the projection head that contrastive training compares."""

    def __init__(self, size: SimclrSize) -> None:
        super().__init__()
        selective = {"split_input": False, "kernel_size": [3, 3], "rd_ratio": 1 / 16, "rd_divisor": 32}
        block = cast("Bottleneck", SelectiveKernelBottleneck)  # timm's annotation says an instance and means a class
        self.net = ResNet(block, size.layers, num_classes=0, stem_width=size.stem, stem_type="deep", avg_down=True,
                          channels=size.channels, block_args={"sk_kwargs": selective})
        self.net.maxpool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2))  # after a ReLU: 0 is neutral
        first: Any = self.net.layer1
        first[0].downsample[0] = nn.Sequential(nn.ReplicationPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, 1))
        self.width: int = self.net.num_features
        self.head = projection_head(self.width)

    def features(self, slices: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1], as the published weights take them -> (B, width)."""
        pooled: Tensor = self.net(slices)
        return pooled

    def forward(self, slices: Tensor) -> Tensor:
        """(B, 3, S, S) -> projections (B, 128)."""
        projected: Tensor = self.head(self.features(slices))
        return projected

    def share_statistics(self) -> None:
        """Let batch normalisation see the batch of all processes, on CUDA.

        By timm's conversion: torch's would drop the activations that are part of timm's normalisation layers.
        """
        self.net, self.head = convert_sync_batchnorm(self.net), convert_sync_batchnorm(self.head)


def projection_head(width: int) -> nn.Sequential:
    """SimCLRv2's three layers; the last normalises without an offset."""
    last = nn.BatchNorm1d(PROJECTION)
    last.bias.requires_grad_(False)
    hidden = [layer for _ in range(2)
              for layer in (nn.Linear(width, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True))]
    return nn.Sequential(*hidden, nn.Linear(width, PROJECTION, bias=False), last)


# Keys of Separius/SimCLRv2-Pytorch, whose converter writes {"resnet": ..., "head": ...}, and timm's.
BLOCK = r"resnet\.net\.(\d)\.blocks\.(\d+)\."
KEYS = (
    (r"resnet\.net\.0\.0\.", "net.conv1.0."), (r"resnet\.net\.0\.1\.0\.", "net.conv1.1."),
    (r"resnet\.net\.0\.2\.", "net.conv1.3."), (r"resnet\.net\.0\.3\.0\.", "net.conv1.4."),
    (r"resnet\.net\.0\.4\.", "net.conv1.6."), (r"resnet\.net\.0\.5\.0\.", "net.bn1."),
    (BLOCK + r"projection\.shortcut\.2\.", r"net.layer\1.\2.downsample.1."),
    (BLOCK + r"projection\.bn\.0\.", r"net.layer\1.\2.downsample.2."),
    (BLOCK + r"net\.0\.", r"net.layer\1.\2.conv1.conv."), (BLOCK + r"net\.1\.0\.", r"net.layer\1.\2.conv1.bn."),
    (BLOCK + r"net\.2\.main_conv\.0\.", r"net.layer\1.\2.conv2.paths.*.conv."),
    (BLOCK + r"net\.2\.main_conv\.1\.0\.", r"net.layer\1.\2.conv2.paths.*.bn."),
    (BLOCK + r"net\.2\.mixing_conv\.0\.", r"net.layer\1.\2.conv2.attn.fc_reduce."),
    (BLOCK + r"net\.2\.mixing_conv\.1\.0\.", r"net.layer\1.\2.conv2.attn.bn."),
    (BLOCK + r"net\.2\.mixing_conv\.2\.", r"net.layer\1.\2.conv2.attn.fc_select."),
    (BLOCK + r"net\.3\.", r"net.layer\1.\2.conv3.conv."), (BLOCK + r"net\.4\.0\.", r"net.layer\1.\2.conv3.bn."),
    (r"head\.layers\.", "head."),
)


def from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the converted file under our names; the ImageNet classifier is left out, unknown keys are kept.

    The published code computes the two kernels of a selective convolution as one of twice the width.
    """
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("resnet.fc."):
            continue
        name = _renamed(key)
        for path, part in enumerate(_halves(value) if "*" in name else (value,)):
            ours[name.replace("*", str(path))] = part
    return ours


def _renamed(key: str) -> str:
    for pattern, name in KEYS:
        if match := re.match(pattern, key):
            return match.expand(name) + key[match.end():]
    return key


def _halves(value: Tensor) -> tuple[Tensor, ...]:
    return value.chunk(2) if value.ndim else (value, value)  # a count has no channels
