"""The peer of a training step: the same weights as the package computes them, stream after stream."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from SAMoraLib.adapters.experts import ExpertsBlock
from SAMoraLib.adapters.lora import DEFAULT, LoRALinear
from SAMoraLib.encoders.sam_vit import SamBlock
from SAMoraLib.kernels.linear import Linear
from SAMoraLib.model import SegmentationModel
from SAMoraLib.variants import EXPERTS
from Testing.benchmarks.peers import ReleasedLoRA, package_block


def straightforward(model: SegmentationModel) -> SegmentationModel:
    """A samed or samora on ViT, rebuilt around its own parameters: the package's blocks, one per stream, and torch's
    ``linear``.
    """
    encoder: Any = model.image_encoder
    for index, block in enumerate(encoder.blocks):
        encoder.blocks[index] = OneByOne(block)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is Linear:
                setattr(parent, name, _plain_linear(child))
    return model


class OneByOne(nn.Module):
    """Eq. 2-7 of SAMora as they stand: a package's block for the base and for each expert, then the fusion."""

    def __init__(self, block: SamBlock) -> None:
        super().__init__()
        fused = isinstance(block, ExpertsBlock)
        names: tuple[str | None, ...] = (None, *EXPERTS) if fused else (DEFAULT,)
        self.streams = nn.ModuleList(_plain(block, name) for name in names)
        self.fusing = block if fused else None  # for its fusion alone

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """(B, H, W, C) -> the same."""
        base, *experts = [stream(x) for stream in self.streams]
        return base + self.fusing._fuse(base, experts) if self.fusing is not None else base


def _plain(block: Any, adapter: str | None) -> nn.Module:
    """The package's block around the parameters of ours."""
    plain: Any = package_block(block.attn.num_heads, block.norm1, block.attn.rel_pos_h, block.window_size)
    plain.norm1, plain.norm2, plain.mlp = block.norm1, block.norm2, block.mlp
    plain.attn.rel_pos_h, plain.attn.rel_pos_w = block.attn.rel_pos_h, block.attn.rel_pos_w
    plain.attn.proj, plain.attn.qkv = block.attn.proj, _released(block.attn.qkv, adapter)
    return plain


def _released(qkv: LoRALinear, adapter: str | None) -> nn.Module:
    alone = _plain_linear(qkv)
    if adapter is None:
        return alone
    pairs: Any = qkv.lora[adapter]
    released = ReleasedLoRA(alone, rank=len(pairs["q"].a))
    released.a_q.weight, released.b_q.weight = pairs["q"].a, pairs["q"].b
    released.a_v.weight, released.b_v.weight = pairs["v"].a, pairs["v"].b
    return released


def _plain_linear(linear: nn.Linear) -> nn.Linear:
    plain = nn.Linear(linear.in_features, linear.out_features, bias=linear.bias is not None, device="meta")
    plain.weight, plain.bias = linear.weight, linear.bias
    return plain
