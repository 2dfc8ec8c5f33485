"""A block with a base stream and three expert streams that become one (SAMora eq. 2-7)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from SAMoraLib.adapters.hcat import HierarchicalCrossAttention
from SAMoraLib.adapters.hl_attn import HLAttention
from SAMoraLib.adapters.mole import MixtureGate
from SAMoraLib.encoders.block import Block
from SAMoraLib.encoders.sam_vit import SamBlock
from SAMoraLib.kernels.windows import partition, regions, unpartition
from SAMoraLib.packages.subclassed import take_over
from SAMoraLib.variants import EXPERTS, Fusion

STREAM_FUSIONS = {"hl_attn": HLAttention, "hcat": HierarchicalCrossAttention, "mole": MixtureGate}


class ExpertStreams(torch.nn.Module, Block):
    """What a block does whose streams run as one batch: base, image, patch, pixel; stands before the block's class.

    It takes over a block that already carries the experts' low-rank pairs, and keeps its parameter names.
    """

    def __init__(self, block: Block, fusion: Fusion) -> None:
        take_over(self, block)
        self.scope, self.inputs = fusion.scope, fusion.inputs
        self.kind = fusion.kind  # the published name of HL-Attn, and the others' likewise
        self.add_module(fusion.kind, _fusion_of(self.attn.qkv, fusion))

    @property
    def fusion(self) -> torch.nn.Module:
        """What makes the experts' streams one."""
        return self.get_submodule(self.kind)

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Fused output O(x) of eq. 7 on (B, H, W, C); with ``adapter`` that expert's stream alone (stage 1)."""
        if adapter is not None:
            return super().forward(x, adapter, depth)
        streams = self._attention_streams(x)
        if self.scope == "attention":
            base, *experts = streams.unbind(0)
            x = base + self._fuse(base, experts)
            return x + self.mlp(self.norm2(x))
        base, *experts = (streams + self.mlp(self.norm2(streams))).unbind(0)
        return base + self._fuse(base, experts)

    def _attention_streams(self, x: Tensor) -> Tensor:
        """The residual stream of the base and each expert behind the attention: (4, B, H, W, C).

        LayerNorm, the frozen projection and what passes the attention by are the same for all streams and are computed
        once.
        """
        shortcut, normalised = self.enter(x)
        projected = self.attn.qkv.streams(self.to_attention(normalised), EXPERTS).flatten(0, 1)
        return shortcut + self.from_attention(projected, shortcut).unflatten(0, (1 + len(EXPERTS), -1))

    def _fuse(self, base: Tensor, experts: list[Tensor]) -> Tensor:
        """E_Omega on the token grid (B, H, W, C), attended within the block's own windows.

        It sees E_i - F, except with ``inputs="stream"``: E_i holds the base stream already, and eq. 7 adds F.
        """
        shown = [stream if self.inputs == "stream" else stream - base for stream in experts]
        if self.kind == "mole":  # one gate for all tokens
            gated: Tensor = self.fusion(torch.stack(shown))
            return gated
        window, out = self.window_out, torch.empty_like(base)
        for rows, columns in regions(base.shape[1], base.shape[2], window):
            windows = [partition(stream[:, rows, columns], window) for stream in shown]
            tokens = {name: each.flatten(1, 2) for name, each in zip(EXPERTS, windows, strict=True)}
            beside = [partition(base[:, rows, columns], window).flatten(1, 2)] if self.inputs == "mixed" else []
            fused = self.fusion(tokens, *beside)
            out[:, rows, columns] = unpartition(fused.unflatten(1, windows[0].shape[1:3]), base[:, rows, columns])
        return out


def _fusion_of(qkv: torch.nn.Linear, fusion: Fusion) -> torch.nn.Module:
    """For streams of the block's output width.

    Where a stage of Hiera begins, the output is wider than the input, and HL-Attn that much narrower inside: 8 width
    times the *input's* width gives the papers' parameter count there, too (docs/variants/samed_2.md).
    """
    dim = qkv.out_features // 3
    width = fusion.width * qkv.in_features // dim if fusion.kind == "hl_attn" else fusion.width
    return STREAM_FUSIONS[fusion.kind](dim, replace(fusion, width=width))


class ExpertsBlock(ExpertStreams, SamBlock):
    """``SamBlock`` with the experts' streams."""
