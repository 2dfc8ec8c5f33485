"""The contract of every variant: slabs to logits; parameter counts; Meta's keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.kernels.linear import Linear
from SAMoraLib.model import SegmentationModel, as_rgb_slices, build_model, empty_model, load_tensors
from SAMoraLib.parts import count_parameters, own_keys, train_only
from SAMoraLib.variants import VARIANTS, Fusion, Variant, get_variant
from SAMoraLib.weights.sam import ADDED
from Testing.closeness import assert_close
from Testing.golden import key_shapes
from Testing.small import FUSION, SIZE, is_sam2, small_model, small_variant

EVERY_VARIANT = pytest.mark.parametrize("name", VARIANTS)
SLICE_BY_SLICE = [name for name, variant in VARIANTS.items() if variant.depth_adapter == "none"]


def slabs(batch: int, depth: int, channels: int = 1) -> Tensor:
    return torch.rand(batch, channels, depth, 32, 32, generator=torch.Generator().manual_seed(0))


def on_meta(variant: Variant, num_classes: int, image_size: int) -> SegmentationModel:
    """The whole model without its memory."""
    model = empty_model(variant, num_classes, image_size)
    train_only(model, own_keys(model, variant.trained))
    return model


@EVERY_VARIANT
@torch.no_grad()
def test_slabs_become_logits(name: str) -> None:
    model = small_model(name, num_classes=3)
    prediction = model(slabs(2, 3))
    side = {"mask": 16, "high_res": 8}.get(model.variant.decoder, 32)
    assert prediction.low_res_logits.shape == (2, 4, 3, side, side)
    if model.variant.decoder == "conv3d":  # which does not judge its masks
        assert prediction.iou_predictions is None
    else:
        assert prediction.iou_predictions.shape == (2, 4, 3)
    assert prediction.logits.shape == (2, 4, 3, 32, 32)
    assert (model.num_classes, model.image_size) == (3, 32)


@pytest.mark.parametrize("name", SLICE_BY_SLICE)
@torch.no_grad()
def test_slices_of_a_slab_do_not_see_each_other(name: str) -> None:
    model, image = small_model(name), slabs(2, 3)
    together = model(image)
    for b in range(2):
        for d in range(3):
            alone = model(image[b : b + 1, :, d : d + 1])
            for of in ("low_res_logits", "iou_predictions"):
                # Products of other sizes round otherwise.
                assert_close(getattr(together, of)[b, :, d], getattr(alone, of)[0, :, 0])


@torch.no_grad()
def test_grey_slices_are_repeated_to_three_channels() -> None:
    model, image = small_model("samed"), slabs(1, 2)
    assert_close(model(image).low_res_logits, model(image.expand(-1, 3, -1, -1, -1)).low_res_logits)


def test_slices_keep_their_order_and_channels() -> None:
    image = slabs(2, 3, channels=3)
    assert torch.equal(as_rgb_slices(image)[4], image[1, :, 1])


@pytest.mark.parametrize("size", [(32, 32), (50, 41)])
@torch.no_grad()
def test_logits_are_resized_in_the_slice_plane(size: tuple[int, int]) -> None:
    prediction = small_model("samed")(slabs(2, 3))
    resized = prediction.resized(size)
    for d in range(3):
        expected = F.interpolate(prediction.low_res_logits[:, :, d], size, mode="bilinear", align_corners=False)
        assert_close(resized[:, :, d], expected)


@pytest.mark.parametrize("name", ["samed", "samora", "h_samora", "ma_sam", "tp_mamba", "samed_2", "samora_2"])
def test_no_layer_of_an_encoder_is_left_to_the_slower_library(name: str) -> None:
    """Hiera's and MA-SAM's once were: 1.6 and 1.3 times the time."""
    layers = [part for part in small_model(name).image_encoder.modules() if isinstance(part, nn.Linear)]
    assert layers and all(isinstance(layer, Linear) for layer in layers)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="The slices are 24 x 32 pixels, this model takes 32 x 32; resample them"):
        small_model("samed")(torch.rand(1, 1, 1, 32, 24))
    with pytest.raises(ValueError, match="at least one class, got 0"):
        build_model(small_variant("samed"), 0, 32)
    with pytest.raises(ValueError, match=r"Image size 30 is not a multiple of the patch size 8; choose e\.g\. 24"):
        build_model(small_variant("samed"), 1, 30)


# Of HL-Attn, those that start at zero as a whole.
READINGS = [{}, {"heads": 2, "norm": True}, {"add_query": True, "gain": True},
            {"add_query": True, "gain": True, "heads": 2, "norm": True, "self_attention": True, "inputs": "stream"}]


@pytest.mark.parametrize("scope", ["block", "attention"])
@pytest.mark.parametrize("window", [3, 2])
@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
@torch.no_grad()
def test_samora_starts_at_the_encoder_of_its_base(scope: str, window: int, reading: dict[str, Any]) -> None:
    """Experts as they are drawn (B = 0) and as they are trained: the last projection of HL-Attn, or its gain, is zero.

    The base stream runs in one batch with the experts', so its sums may round differently; float64 tells that apart.
    """
    size = replace(SIZE, window_size=window)
    base = small_model("sam", size=size)
    variant = get_variant("samora", encoder_size=size, fusion=replace(FUSION, scope=scope, **reading))
    model = build_model(variant, 4, 32).eval()
    model.load_state_dict(base.state_dict(), strict=False)
    image = slabs(2, 1)
    slices, expected = as_rgb_slices(image).double(), base(image).low_res_logits
    embedding = base.image_encoder.double()(slices)
    for trained in (False, True):
        if trained:
            _train_experts(model)
        assert_close(model.float()(image).low_res_logits, expected)
        assert_close(model.image_encoder.double()(slices), embedding, tolerance=1e-12)


def _train_experts(model: SegmentationModel) -> None:
    for name, parameter in model.named_parameters():
        if ".lora." in name:
            parameter.data.normal_(generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
def test_every_slice_of_a_slab_is_an_image(channels: int) -> None:
    """Slab by slab, each with its own channels, or the one three times."""
    image = torch.arange(2 * channels * 4 * 2 * 5.0).view(2, channels, 4, 2, 5)
    expected = torch.stack([torch.stack([image[b, c % channels, d] for c in range(3)])
                            for b in range(2) for d in range(4)])
    assert torch.equal(as_rgb_slices(image), expected)


@torch.no_grad()
def test_samed_starts_at_its_base() -> None:
    base = small_model("sam")
    for name in ("samed", "samed_s"):
        model = build_model(small_variant(name), 4, 32).eval()
        model.load_state_dict(base.state_dict(), strict=False)
        assert_close(model(slabs(2, 1)).low_res_logits, base(slabs(2, 1)).low_res_logits)


@pytest.mark.parametrize("reading", READINGS, ids=lambda reading: "+".join(reading) or "equation_8")
def test_stage_2_of_samora_trains_fusion_and_decoder_alone(reading: dict[str, Any]) -> None:
    model = small_model("samora", fusion=replace(FUSION, **reading))
    train_only(model, own_keys(model, model.variant.trained))
    model(slabs(2, 1)).low_res_logits.square().mean().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    fusion = {name for name, _ in model.named_parameters() if ".hl_attn." in name}
    assert fusion <= reached
    assert all(".hl_attn." in name or name.startswith("mask_decoder.") for name in reached)
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in fusion)


def test_the_first_step_reaches_the_projection_that_starts_at_zero() -> None:
    torch.manual_seed(0)
    model = build_model(small_variant("samora"), 4, 32)
    _train_experts(model)
    train_only(model, own_keys(model, ["fusion"]))
    model(slabs(1, 1)).low_res_logits.square().mean().backward()
    for block in model.image_encoder.blocks:
        assert block.hl_attn.high.o.weight.grad.abs().max() > 0


@pytest.mark.parametrize(("name", "image_size", "total", "trainable"), [
    ("samed", 224, 91_538_133, 4_913_621),
    ("samed", 512, 92_192_469, 4_913_621),
    ("samed_s", 512, 92_216_021, 1_645_909),
    ("h_sam", 224, 99_107_652, 12_483_140),
    ("h_sam", 512, 111_245_520, 23_966_672),
    # SAMed at 224 and two further experts and HL-Attn.
    ("samora", 224, 91_538_133 + 294_912 + 9_437_184, 9_437_184 + 4_759_945),
])
def test_counts_of_the_papers_models(name: str, image_size: int, total: int, trainable: int) -> None:
    model = on_meta(get_variant(name), 8, image_size)
    assert (count_parameters(model), count_parameters(model, trainable=True)) == (total, trainable)


@pytest.mark.parametrize(("encoder", "total", "trainable", "adapters"), [
    ("vit_b", 117_421_209, 30_142_361, 24_818_688),
    ("vit_h", 729_864_857, 96_811_929, 91_414_528),
])
def test_counts_of_ma_sam(encoder: str, total: int, trainable: int, adapters: int) -> None:
    model = on_meta(get_variant("ma_sam", encoder), 12, 512)
    assert (count_parameters(model), count_parameters(model, trainable=True)) == (total, trainable)
    assert count_parameters(model, ["depth"]) == adapters
    if encoder == "vit_b":
        assert count_parameters(model, ["lora"]) == 73_728
        assert count_parameters(model, ["transformer", "decoder"]) == 5_243_725


@pytest.mark.parametrize(("image_size", "total", "trainable"), [(224, 96_287_711, 9_663_199),
                                                                (512, 108_425_579, 21_146_731)])
def test_counts_of_h_sam_with_one_class_and_rank_five(image_size: int, total: int, trainable: int) -> None:
    model = on_meta(get_variant("h_sam", rank=5), 1, image_size)
    assert (count_parameters(model), count_parameters(model, trainable=True)) == (total, trainable)


def test_counts_of_h_samora() -> None:
    """What experts and HL-Attn add to SAMed they add to H-SAM."""
    h_sam, h_samora = (on_meta(get_variant(name), 8, 224) for name in ("h_sam", "h_samora"))
    assert count_parameters(h_samora) - count_parameters(h_sam) == 294_912 + 9_437_184


def test_counts_of_the_parts_that_samora_adds() -> None:
    samed, samora = (on_meta(get_variant(name), 8, 224) for name in ("samed", "samora"))
    assert count_parameters(samora, ["fusion"]) == 9_437_184
    assert count_parameters(samora, ["lora"]) - count_parameters(samed, ["lora"]) == 294_912


@pytest.mark.parametrize("reading", [{}, {"heads": 8, "norm": True}, {"self_attention": True}, {"add_query": True},
                                     {"gain": True, "add_query": True, "heads": 8, "norm": True}],
                         ids=lambda reading: "+".join(reading) or "equation_8")
def test_every_reading_of_hl_attn_fits_table_3(reading: dict[str, Any]) -> None:
    """It prints 108.8 and 118.5 M: a difference between 9.6 and 9.8 M."""
    samed = on_meta(get_variant("samed"), 8, 224)
    samora = on_meta(get_variant("samora", fusion=Fusion(**reading)), 8, 224)
    more = count_parameters(samora) - count_parameters(samed)
    assert more == 9_437_184 + 294_912 + 12 * 768 * ("gain" in reading) and 9.6e6 < more < 9.8e6


@pytest.mark.parametrize(("encoder", "total"), [("vit_b", 93_735_472), ("vit_l", 312_342_832),
                                                ("vit_h", 641_090_608)])
def test_counts_of_metas_models(encoder: str, total: int) -> None:
    # SAM has four mask tokens, which here are the background and three classes.
    assert count_parameters(on_meta(get_variant("sam", encoder), 3, 1024)) == total


@pytest.mark.parametrize("name", [name for name in VARIANTS if not is_sam2(name)])
def test_base_keys_are_metas(name: str) -> None:
    published = key_shapes("segment_anything_vit_b")
    ours = {key: tuple(value.shape) for key, value in on_meta(get_variant(name), 3, 1024).state_dict().items()}
    if get_variant(name).decoder == "progressive":  # its hypernetworks end in 8 channels instead of 32
        published = {key: shape for key, shape in published.items() if "hypernetworks_mlps" not in key}
    if get_variant(name).decoder == "conv3d":  # it has the encoder's blocks alone
        published = {key: shape for key, shape in published.items()
                     if key.startswith("image_encoder.") and ".neck." not in key}
    assert {key: ours.get(key) for key in published} == published
    further = set(ours) - set(key_shapes("segment_anything_vit_b"))
    assert all(any(part in key for part in ADDED) for key in further)
    assert bool(further) == (name != "sam")


@torch.no_grad()
def test_the_encoder_is_one_forward_of_the_model() -> None:
    model, image = small_model("samed"), slabs(1, 1)
    assert isinstance(model.image_encoder, SamImageEncoder)
    seen = []
    model.image_encoder.register_forward_hook(lambda *call: seen.append(call[2]))
    model(image)
    assert_close(seen[0], model.image_encoder(as_rgb_slices(image)))


@EVERY_VARIANT
@torch.no_grad()
def test_an_empty_model_becomes_the_one_that_it_is_filled_with(name: str) -> None:
    whole = small_model(name).half().float()
    before = torch.get_rng_state()
    model = empty_model(whole.variant, 4, 32)
    assert torch.equal(torch.get_rng_state(), before), "nothing is drawn"
    assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())), "and no memory is taken"
    load_tensors(model, {key: value.half() for key, value in whole.state_dict().items()})
    found, expected = (each.eval()(slabs(1, 3)).low_res_logits for each in (model, whole))
    assert_close(found, expected)
    assert all(parameter.requires_grad for parameter in model.parameters())
