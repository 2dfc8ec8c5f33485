"""A block with a base stream and three expert streams that become one (SAMora eq. 2-7)."""

from __future__ import annotations

import torch
from torch import Tensor

from SAMoraLib.adapters.hcat import HierarchicalCrossAttention
from SAMoraLib.adapters.hl_attn import HLAttention, padding_mask
from SAMoraLib.adapters.lora_composition import add_composition
from SAMoraLib.adapters.mole import MixtureGate
from SAMoraLib.encoders.sam_vit import SamBlock, SamImageEncoder
from SAMoraLib.variants import EXPERTS, Fusion

STREAM_FUSIONS = {"hl_attn": HLAttention, "hcat": HierarchicalCrossAttention, "mole": MixtureGate}


class ExpertsBlock(SamBlock):
    """``SamBlock`` whose streams run as one batch: base, image, patch, pixel.

    It takes over a block that already carries the experts' low-rank pairs, and keeps its parameter names.
    """

    def __init__(self, block: SamBlock, fusion: Fusion) -> None:
        torch.nn.Module.__init__(self)
        self.norm1, self.attn, self.norm2, self.mlp = block.norm1, block.attn, block.norm2, block.mlp
        self.window_size = block.window_size
        self.scope, self.inputs = fusion.scope, fusion.inputs
        self.kind = fusion.kind  # the published name of HL-Attn, and the others' likewise
        self.add_module(fusion.kind, STREAM_FUSIONS[fusion.kind](block.attn.qkv.in_features, fusion))

    @property
    def fusion(self) -> torch.nn.Module:
        """What makes the experts' streams one."""
        return self.get_submodule(self.kind)

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """Fused output O(x) of eq. 7 on (B, H, W, C); with ``adapter`` that expert's stream alone (stage 1)."""
        if adapter is not None:
            return super().forward(x, adapter, depth)
        streams = x + self._attention_streams(x)
        if self.scope == "attention":
            base, *experts = streams.unbind(0)
            x = base + self._fuse(base, experts, x)
            return x + self.mlp(self.norm2(x))
        base, *experts = (streams + self.mlp(self.norm2(streams))).unbind(0)
        return base + self._fuse(base, experts, x)

    def _attention_streams(self, x: Tensor) -> Tensor:
        """Attention output without the residual of the base and each expert: (4, B, H, W, C).

        LayerNorm, windows and the frozen projection are the same for all streams and are computed once.
        """
        windows = self.to_windows(self.norm1(x))
        qkv = self.attn.qkv
        shared = qkv(windows)
        projected = torch.cat([shared, *(shared + qkv.delta(windows, name) for name in EXPERTS)])
        attended = self.attn.attend(projected).unflatten(0, (1 + len(EXPERTS), -1))
        return torch.stack([self.from_windows(stream, x) for stream in attended])

    def _fuse(self, base: Tensor, experts: list[Tensor], x: Tensor) -> Tensor:
        """E_Omega on the token grid (B, H, W, C), attended within the block's own windows.

        With ``inputs="difference"`` the fusion sees E_i - F: E_i holds the base stream already, and eq. 7 adds F.
        """
        shown = [stream - base if self.inputs == "difference" else stream for stream in experts]
        if self.kind == "mole":  # one gate for all tokens
            gated: Tensor = self.fusion(torch.stack(shown))
            return gated
        streams = {name: self.to_windows(stream).flatten(1, 2) for name, stream in zip(EXPERTS, shown, strict=True)}
        mask = padding_mask((x.shape[1], x.shape[2]), self.window_size, x.device)
        fused = self.fusion(streams, mask.repeat(x.shape[0], 1, 1) if mask is not None else None)
        side = self.window_size or x.shape[1]
        return self.from_windows(fused.unflatten(1, (side, -1)), x)


def add_fusion(encoder: SamImageEncoder, fusion: Fusion) -> None:
    """Make one of the three experts that every block of an encoder carries: as streams, or as low-rank pairs."""
    if fusion.kind in ("lac", "lorahub"):
        add_composition(encoder, fusion.kind)
        return
    encoder.blocks = torch.nn.ModuleList(ExpertsBlock(block, fusion) for block in encoder.blocks)
