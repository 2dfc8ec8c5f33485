"""samed_2 and samora_2: parameter counts, Meta's keys, where they start, and what stage 2 trains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from SAMoraLib.model import SegmentationModel, as_rgb_slices, build_model
from SAMoraLib.parts import count_parameters, own_keys, train_only
from SAMoraLib.variants import HIERA_SIZES, Fusion, get_variant
from SAMoraLib.weights.sam2 import from_sam2
from Testing.closeness import assert_close
from Testing.golden import key_shapes
from Testing.sam2_package import on_meta, package_on_meta
from Testing.small import FUSION, HIERA, small_model, small_variant

ENCODER = 68_675_712 + 431_104
PROMPT, NO_MEMORY = 6_220, 256
# With K mask tokens: the two-way transformer, the up-scaling, K hypernetworks and the heads.
DECODER = {4: 4_215_109, 9: 4_916_714}


def slabs(batch: int = 2) -> Tensor:
    return torch.rand(batch, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def with_trained_experts(model: SegmentationModel) -> SegmentationModel:
    for name, parameter in model.named_parameters():
        if ".lora." in name:
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))
    return model


def test_counts_of_sam_2s_image_encoder() -> None:
    encoder = on_meta(get_variant("sam_2"), 3, 1024).image_encoder
    assert sum(p.numel() for p in encoder.trunk.parameters()) == 68_675_712
    assert sum(p.numel() for p in encoder.neck.parameters()) == 431_104


@pytest.mark.parametrize("image_size", [224, 512])  # no table depends on it
def test_counts_of_samed_2(image_size: int) -> None:
    model = on_meta(get_variant("samed_2"), 8, image_size)
    lora = count_parameters(model, ["lora"])
    assert lora == 4 * 2 * sum(block.dim + block.dim_out for block in model.image_encoder.blocks) == 165_760
    decoder = count_parameters(model, ["transformer", "decoder"])
    assert count_parameters(model) == ENCODER + lora + PROMPT + NO_MEMORY + decoder
    assert count_parameters(model, trainable=True) == lora + PROMPT + NO_MEMORY + decoder


def test_counts_of_what_samora_2_adds() -> None:
    """Table 3: +10.6 M. 8 x 128 x the input's width in every block, and two more experts."""
    samed, samora = (on_meta(get_variant(name), 8, 224) for name in ("samed_2", "samora_2"))
    fusion = count_parameters(samora, ["fusion"])
    assert fusion == 1024 * sum(block.dim for block in samora.image_encoder.blocks) == 10_207_232
    assert count_parameters(samora) - count_parameters(samed) == fusion + 2 * 165_760 == 10_538_752
    full = on_meta(get_variant("samora_2", fusion=Fusion(heads=8, norm=True, add_query=True, gain=True)), 8, 224)
    assert 10.5e6 < count_parameters(full) - count_parameters(samed) < 10.7e6, "table 3: 10.6 M"


def test_counts_of_the_decoder() -> None:
    for tokens, count in DECODER.items():
        model = on_meta(get_variant("sam_2"), tokens - 1, 224)
        assert count_parameters(model, ["transformer", "decoder"]) == count


@pytest.mark.parametrize(("encoder", "file", "total"), [
    ("hiera_t", "sam2.1_hiera_t", 38_962_498), ("hiera_s", "sam2.1_hiera_s", 46_060_354),
    ("hiera_b+", "sam2.1_hiera_b+", 80_850_178), ("hiera_l", "sam2.1_hiera_l", 224_446_642),
])
def test_metas_configurations_have_our_keys(encoder: str, file: str, total: int) -> None:
    """Without their memory: what the package builds from its own configuration, renamed, is ``sam_2`` at K = 4."""
    theirs = package_on_meta(f"configs/sam2.1/{file}.yaml")
    assert sum(p.numel() for p in theirs.parameters()) == total  # the README's 38.9, 46, 80.8 and 224.4 M
    ours = on_meta(get_variant("sam_2", encoder), 3, 1024).state_dict()
    assert shapes(from_sam2(theirs.state_dict())) == shapes(ours)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def test_image_encoder_keys_are_metas() -> None:
    published = key_shapes("sam2_hiera_bplus_image_encoder")
    model = on_meta(get_variant("sam_2"), 3, 1024)
    assert shapes(model.image_encoder.state_dict()) == published


@pytest.mark.parametrize("encoder", HIERA_SIZES)
def test_every_size_is_built(encoder: str) -> None:
    model = on_meta(get_variant("samora_2", encoder), 8, 224)
    assert len(model.image_encoder.blocks) == HIERA_SIZES[encoder].depth


@pytest.mark.parametrize("scope", ["block", "attention"])
@pytest.mark.parametrize("windows", [(4, 2, 4, 2), (4, 2, 6, 3)])
@torch.no_grad()
def test_samora_2_starts_at_the_encoder_of_its_base(scope: str, windows: tuple[int, ...]) -> None:
    """Experts as they are drawn (B = 0) and as they are trained; float64 tells rounding from a difference."""
    size = replace(HIERA, window_spec=windows)
    base = small_model("sam_2", size=size)
    variant = get_variant("samora_2", encoder_size=size, fusion=replace(FUSION, scope=scope))
    model = build_model(variant, 4, 32).eval()
    model.load_state_dict(base.state_dict(), strict=False)
    slices = as_rgb_slices(slabs()).double()
    expected = base.image_encoder.double().features(slices, 1)
    for _ in range(2):
        found = model.image_encoder.double().features(slices, 1)
        levels = zip((found.embedding, *found.skips), (expected.embedding, *expected.skips), strict=True)
        for level, reference in levels:
            assert_close(level, reference, tolerance=1e-5)  # the neck passes through float32
        for stage, reference in zip(model.image_encoder.trunk(slices), base.image_encoder.trunk(slices), strict=True):
            assert_close(stage, reference, tolerance=1e-12)
        with_trained_experts(model)


@torch.no_grad()
def test_samed_2_starts_at_its_base() -> None:
    base = small_model("sam_2")
    model = build_model(small_variant("samed_2"), 4, 32).eval()
    model.load_state_dict(base.state_dict(), strict=False)
    assert_close(model(slabs()).low_res_logits, base(slabs()).low_res_logits)


def test_stage_2_of_samora_2_trains_fusion_and_decoder_alone() -> None:
    model = small_model("samora_2")
    train_only(model, own_keys(model, model.variant.trained))
    model(slabs()).low_res_logits.square().mean().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    fusion = {name for name, _ in model.named_parameters() if ".hl_attn." in name}
    assert fusion <= reached
    assert all(".hl_attn." in name or name.startswith("mask_decoder.") for name in reached)
    # A token alone in its window attends to itself, whatever q and k say.
    alone = {f"image_encoder.trunk.blocks.{block}.hl_attn.{step}.{layer}.weight"
             for block in (2, 4) for step in ("low", "high") for layer in "qk"}
    assert alone < fusion
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in fusion - alone)


def test_the_first_step_reaches_the_projections_that_start_at_zero() -> None:
    torch.manual_seed(0)
    model = with_trained_experts(build_model(small_variant("samora_2"), 4, 32))
    train_only(model, own_keys(model, ["fusion"]))
    model(slabs()).low_res_logits.square().mean().backward()
    for block in model.image_encoder.blocks:
        assert block.hl_attn.high.o.weight.grad.abs().max() > 0
