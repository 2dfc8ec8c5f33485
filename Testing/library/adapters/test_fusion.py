"""Which of the ways to make one of three experts an encoder gets."""

from __future__ import annotations

import pytest
import torch

from SAMoraLib.adapters.experts import ExpertsBlock
from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.hcat import HierarchicalCrossAttention
from SAMoraLib.adapters.hl_attn import HLAttention
from SAMoraLib.adapters.lora import add_lora_to_encoder
from SAMoraLib.adapters.mole import MixtureGate
from SAMoraLib.encoders.sam_vit import SamBlock, SamImageEncoder
from SAMoraLib.variants import EXPERTS, FUSIONS, Fusion
from Testing.small import HIERA, SIZE


def fused(kind: str) -> SamImageEncoder:
    torch.manual_seed(0)
    encoder = SamImageEncoder(SIZE, 32)
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, Fusion(kind=kind, width=8))
    return encoder


@pytest.mark.parametrize(("kind", "module"), [("hl_attn", HLAttention), ("hcat", HierarchicalCrossAttention),
                                              ("mole", MixtureGate)])
def test_streams_are_fused_in_every_block(kind: str, module: type) -> None:
    for block in fused(kind).blocks:
        assert isinstance(block, ExpertsBlock) and isinstance(block.fusion, module)
        assert block.attn.qkv.compose is None


@pytest.mark.parametrize("kind", ["lac", "lorahub"])
def test_pairs_that_work_as_one_leave_the_blocks_as_they_are(kind: str) -> None:
    encoder = fused(kind)
    for block in encoder.blocks:
        assert isinstance(block, SamBlock) and not isinstance(block, ExpertsBlock)
        assert block.attn.qkv.compose is not None
    assert hasattr(encoder, "lorahub") == (kind == "lorahub")


def test_every_way_that_a_row_can_name_is_there() -> None:
    for kind in FUSIONS:
        changed = [name for name, _ in fused(kind).named_parameters() if f"{kind}." in name]
        assert bool(changed) == (kind != "lac")  # the mean has nothing to learn


def test_blocks_of_sam_2_get_streams_of_their_own_kind() -> None:
    pytest.importorskip("sam2", reason="SAM 2's package is optional")
    from SAMoraLib.adapters.hiera_experts import HieraExpertsBlock
    from SAMoraLib.encoders.sam2_hiera import Sam2ImageEncoder

    encoder = Sam2ImageEncoder(HIERA, 64)
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, Fusion(width=8))
    assert all(isinstance(block, HieraExpertsBlock) for block in encoder.blocks)
