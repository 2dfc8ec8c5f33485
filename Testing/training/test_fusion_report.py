"""How much HL-Attn adds, and whether it tells the tokens of a window apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from Testing.closeness import assert_close
from Testing.small import IMAGE_SIZE, small_model
from Training.fusion_report import fusion_shares

IMAGE = torch.rand(2, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))


def test_a_new_fusion_adds_nothing() -> None:
    model = small_model("samora")
    for block in model.image_encoder.blocks:
        block.hl_attn.high.o.weight.data.zero_()
    assert [size for size, _ in fusion_shares(model, IMAGE)] == [0.0, 0.0]


def test_equal_attention_is_the_windows_mean_and_sharp_attention_is_not() -> None:
    model = small_model("samora")
    queries = [getattr(block.hl_attn, step).q.weight.data for block in model.image_encoder.blocks
               for step in ("low", "high")]
    for weight in queries:
        weight.zero_()
    # Block 0 has windows of four shapes.
    assert_close(torch.tensor([share for _, share in fusion_shares(model, IMAGE)]), torch.ones(2))
    for weight in queries:
        weight.normal_(std=50, generator=torch.Generator().manual_seed(3))
    assert max(share for _, share in fusion_shares(model, IMAGE)) < 0.99


def test_a_model_without_fusion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'samed' has no HL-Attn"):
        fusion_shares(small_model("samed"), IMAGE)
