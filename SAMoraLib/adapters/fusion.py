"""Which of the ways to make one of three experts an encoder gets."""

from __future__ import annotations

from SAMoraLib.adapters.experts import ExpertsBlock, ExpertStreams
from SAMoraLib.adapters.lora_composition import add_composition
from SAMoraLib.encoders.block import Block, Encoder
from SAMoraLib.encoders.sam_vit import SamBlock
from SAMoraLib.variants import Fusion


def add_fusion(encoder: Encoder, fusion: Fusion) -> None:
    """Make one of the three experts that every block of an encoder carries: as streams, or as low-rank pairs."""
    if fusion.kind in ("lac", "lorahub"):
        add_composition(encoder, fusion.kind)
        return
    for index, block in enumerate(encoder.blocks):
        encoder.blocks[index] = _with_streams(block, fusion)


def _with_streams(block: Block, fusion: Fusion) -> ExpertStreams:
    if isinstance(block, SamBlock):
        return ExpertsBlock(block, fusion)
    from SAMoraLib.adapters.hiera_experts import HieraExpertsBlock  # SAM 2's package is optional

    return HieraExpertsBlock(block, fusion)
