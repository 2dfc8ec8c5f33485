"""SAM 2's files, as its package writes them, as the start of a row at another image size and class count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import HieraSize, get_variant
from SAMoraLib.weights.sam import CLASS_DEPENDENT, load_base
from SAMoraLib.weights.sam2 import from_sam2
from SAMoraLib.weights.tensors import read_tensors
from Testing.refusals import refusal
from Testing.sam2_package import HEADS, package_model
from Testing.small import FUSION

ROWS = ("sam_2", "samed_2", "samora_2")


def published() -> dict[str, Tensor]:
    """As Meta's: four mask tokens, another image size, and what follows objects through a video."""
    extra = {"memory_attention.layers.0.norm1.weight": torch.ones(3), "memory_encoder.out_proj.weight": torch.ones(3)}
    return package_model(image_size=96).state_dict() | extra


def fresh(name: str = "samed_2", size: HieraSize = HEADS, image_size: int = 32) -> SegmentationModel:
    torch.manual_seed(1)
    variant = get_variant(name, encoder_size=size)
    return build_model(replace(variant, fusion=FUSION) if variant.fusion else variant, 2, image_size)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("image_size", [32, 64, 96])
def test_metas_file_starts_every_row(name: str, image_size: int, tmp_path: Path) -> None:
    torch.save({"model": published()}, tmp_path / "sam2.1_hiera.pt")
    base = read_tensors(tmp_path / "sam2.1_hiera.pt")
    model = fresh(name, image_size=image_size)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loaded = load_base(model, base)
    for key, value in model.state_dict().items():
        random = any(part in key for part in (*CLASS_DEPENDENT, ".lora.", ".hl_attn."))
        assert (key in loaded) != random
        assert torch.equal(value, before[key] if random else base[key]), key


def test_names_are_ours_and_the_video_is_left_out() -> None:
    theirs = published()
    ours = from_sam2(theirs)
    assert set(ours) == set(build_model(get_variant("sam_2", encoder_size=HEADS), 3, 96).state_dict())
    assert torch.equal(ours["no_memory.embed"], theirs["no_mem_embed"])
    assert torch.equal(ours["mask_decoder.conv_s0.weight"], theirs["sam_mask_decoder.conv_s0.weight"])
    assert from_sam2(ours) == ours  # our own bases have them


@pytest.mark.parametrize("key", ["image_encoder.trunk.blocks.1.proj.bias", "image_encoder.neck.convs.3.conv.weight",
                                 "sam_prompt_encoder.no_mask_embed.weight", "no_mem_embed",
                                 "sam_mask_decoder.conv_s1.bias", "sam_mask_decoder.pred_obj_score_head.layers.2.bias"])
def test_a_missing_tensor_is_named(key: str) -> None:
    state = published()
    del state[key]
    ours = key.removeprefix("sam_").replace("no_mem_embed", "no_memory.embed")
    assert f"lacks '{ours}'" in refusal(lambda: load_base(fresh(), from_sam2(state)))


def test_tensors_that_sam_2_does_not_have_are_named() -> None:
    state = published() | {"sam_mask_decoder.conv_s2.weight": torch.ones(2), "adapter.weight": torch.ones(2)}
    message = refusal(lambda: load_base(fresh(), from_sam2(state)))
    assert "has 2 tensors that are none of SAM 2's, first 'adapter.weight'" in message


@pytest.mark.parametrize(("size", "message"), [
    (replace(HEADS, stages=(1, 2, 2, 1)), "a Hiera of 5 blocks of width 16, hiera_b+ has 6 of width 16"),
    (replace(HEADS, embed_dim=32), "a Hiera of 5 blocks of width 16, hiera_b+ has 5 of width 32"),
    (replace(HEADS, window_spec=(8, 4, 6, 3)), "'image_encoder.trunk.pos_embed_window' is (1, 16, 4, 4) in the base"),
])
def test_another_encoder_is_named(size: HieraSize, message: str) -> None:
    assert message in refusal(lambda: load_base(fresh(size=size), from_sam2(published())))


def test_a_sam_is_no_sam_2() -> None:
    sam = {"image_encoder.pos_embed": torch.ones(1, 4, 4, 16), "mask_decoder.iou_token.weight": torch.ones(1, 32)}
    assert "holds a Hiera of 0 blocks of width 0" in refusal(lambda: load_base(fresh(), sam))
    for table in (torch.tensor(1.0), torch.ones(16)):
        odd = {"image_encoder.trunk.pos_embed": table}
        assert "a Hiera of 0 blocks of width 0" in refusal(lambda odd=odd: load_base(fresh(), odd))
    samed = build_model(get_variant("samed", "tiny"), 2, 32)
    assert "holds a ViT of 0 blocks" in refusal(lambda: load_base(samed, from_sam2(published())))
