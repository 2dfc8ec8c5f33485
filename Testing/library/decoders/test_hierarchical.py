"""Two decoders: what the second one gets from the first, at any grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from SAMoraLib.decoders.hierarchical import first_masks
from SAMoraLib.decoders.mask import decode
from SAMoraLib.features import Features
from SAMoraLib.model import SegmentationModel, build_model
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise, small_model, small_variant

SLABS = torch.rand(1, 1, 2, 32, 32, generator=torch.Generator().manual_seed(0))


def released(image_size: int = 32) -> SegmentationModel:
    torch.manual_seed(0)
    model = build_model(replace(small_variant("h_sam"), cm_attention="released"), 4, image_size).eval()
    randomise(model)
    return model


@pytest.mark.parametrize(("patch", "image_size"), [(4, 20), (8, 40), (16, 48)])
@pytest.mark.parametrize("classes", [1, 5])
@torch.no_grad()
def test_the_second_decoder_reaches_the_slices_own_pixels(patch: int, image_size: int, classes: int) -> None:
    model = small_model("h_sam", classes, image_size, size=replace(SIZE, patch_size=patch))
    prediction = model(torch.rand(1, 1, 2, image_size, image_size))
    first, second = prediction.auxiliary
    assert first.shape == (1, classes + 1, 2, 4 * (image_size // patch), 4 * (image_size // patch))
    assert second.shape == prediction.low_res_logits.shape == (1, classes + 1, 2, image_size, image_size)
    assert prediction.iou_predictions.shape == (1, classes + 1, 2)


@torch.no_grad()
def test_the_answer_is_the_mean_of_both() -> None:
    prediction = small_model("h_sam")(SLABS)
    first, second = (logits[0].transpose(0, 1) for logits in prediction.auxiliary)
    enlarged = F.interpolate(first, (32, 32), mode="bilinear", align_corners=False)
    assert_close(prediction.logits[0].transpose(0, 1), (enlarged + second) / 2)


@torch.no_grad()
def test_the_first_decoder_is_sams() -> None:
    model = small_model("h_sam")
    features = model.encode(SLABS)
    expected, _ = decode(model.prompt_encoder, model.mask_decoder, features.embedding)
    assert_close(model.decode(features).auxiliary[0][0].transpose(0, 1), expected)


@torch.no_grad()
def test_mask_features_are_tokens_times_the_embedding_before_it_is_enlarged() -> None:
    model, seen = small_model("h_sam"), []
    model.mask_decoder.transformer.register_forward_hook(lambda *call: seen.append(call[2]))
    embedding = torch.randn(2, 32, 4, 4)
    prior = first_masks(model.mask_decoder, embedding, model.prompt_encoder.get_dense_pe())
    tokens, image = seen[0]
    assert_close(prior.features, torch.einsum("nkc,nlc->nkl", tokens[:, 1:], image))


def second_source(model: SegmentationModel, features: Features) -> torch.Tensor:
    seen: list[torch.Tensor] = []
    layer = model.mask_decoder2.transformer2.layers[0].cross_attn_token_to_image
    handle = layer.register_forward_hook(lambda *call: seen.append(call[1][2]))
    model.decode(features)
    handle.remove()
    return seen[0].transpose(1, 2).unflatten(2, features.embedding.shape[-2:])


@torch.no_grad()
def test_class_attention_multiplies_the_embedding_and_adds_it() -> None:
    model = small_model("h_sam")
    features, seen = model.encode(SLABS), []
    model.mask_decoder2.class_attention.register_forward_hook(lambda *call: seen.append(call[2]))
    source = features.embedding + model.prompt_encoder.no_mask_embed.weight[:, :, None, None]
    enhanced = second_source(model, features)
    assert seen[0].std() > 0
    assert_close(enhanced, source * (1 + seen[0]))


@torch.no_grad()
def test_released_doubles_the_embedding_exactly() -> None:
    model = released()
    features = model.encode(SLABS)
    source = features.embedding + model.prompt_encoder.no_mask_embed.weight[:, :, None, None]
    assert torch.equal(second_source(model, features), 2 * source)


@pytest.mark.parametrize("model", [small_model("h_sam"), released()], ids=["paper", "released"])
@torch.no_grad()
def test_nothing_is_random_outside_of_training(model: SegmentationModel) -> None:
    features = replace(model.encode(SLABS), noise=torch.ones(2, 4, 4))
    model.eval()
    assert torch.equal(model.decode(features).logits, model.decode(features).logits)
    assert torch.equal(model.decode(features).logits, model.decode(replace(features, noise=None)).logits)


@torch.no_grad()
def test_noise_counts_in_training() -> None:
    model = small_model("h_sam")
    features = model.encode(SLABS)
    model.train()
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    assert torch.equal(model.decode(features).logits, model.decode(features).logits)
    noisy = replace(features, noise=torch.ones(2, 4, 4))
    assert not torch.equal(model.decode(noisy).logits, model.decode(noisy).logits)


def test_the_second_losss_gradient_reaches_the_class_attention_and_the_first_decoder() -> None:
    model = small_model("h_sam")
    model(SLABS).auxiliary[1].square().mean().backward()
    without = {name for name, parameter in model.named_parameters()
               if name.startswith("mask_decoder") and (parameter.grad is None or not parameter.grad.any())}
    unused = {name for name in without if ".norm" in name and "cross_attn" in name}
    assert all("iou_prediction_head" in name for name in without - unused), without - unused


def test_patches_that_doubling_does_not_enlarge_to_the_slice_are_refused() -> None:
    with pytest.raises(ValueError, match="Patches of 6 pixels and 32 channels cannot be enlarged"):
        small_model("h_sam", image_size=36, size=replace(SIZE, patch_size=6))


@torch.no_grad()
def test_released_noise_is_a_fifth_of_the_embeddings_range_and_in_training_alone() -> None:
    decoder = released().mask_decoder2
    embedding = 1 + 2 * torch.rand(64, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    embedding[0, 0, 0, :2] = torch.tensor([1.0, 3.0])
    dense = torch.randn(1, 32, 4, 4)
    torch.manual_seed(0)
    assert torch.equal(decoder.enhanced(embedding, dense, None, None), 2 * (embedding + dense))
    noise = decoder.train().enhanced(embedding, dense, None, None) / 2 - (embedding + dense)
    assert noise.std().item() == pytest.approx(0.4, rel=0.02) and abs(noise.mean().item()) < 0.01
    assert noise.abs().max() < 0.4 * 6, "normally distributed"


@torch.no_grad()
def test_the_prior_is_each_classs_share_of_the_first_masks_at_the_embeddings_size() -> None:
    model, seen = small_model("h_sam"), []
    for layer in model.mask_decoder2.transformer2.layers:
        layer.cross_attn_token_to_image.register_forward_hook(lambda *call: seen.append(call[1][3]))
    first = model(SLABS).auxiliary[0][0].transpose(0, 1)
    expected = F.interpolate(first, (4, 4), mode="bilinear", align_corners=False).softmax(1).flatten(2)
    assert len(seen) == 2
    for prior in seen:
        assert_close(prior, expected)
        assert_close(prior.sum(1), torch.ones(2, 16))


@torch.no_grad()
def test_the_quality_is_told_by_the_first_token_and_masks_by_all() -> None:
    model, seen = small_model("h_sam"), {}
    second = model.mask_decoder2
    second.transformer2.norm_final_attn.register_forward_hook(lambda *call: seen.update(tokens=call[2]))
    second.skip_connect.register_forward_hook(lambda *call: seen.update(pixels=call[2]))
    prediction = model(SLABS)
    tokens = seen["tokens"]
    assert_close(prediction.iou_predictions[0].T, second.iou_prediction_head(tokens[:, 0]))
    vectors = torch.stack([network(tokens[:, number])
                           for number, network in enumerate(second.output_hypernetworks_mlps2)], 1)
    assert_close(prediction.auxiliary[1][0].transpose(0, 1), torch.einsum("nkc,nchw->nkhw", vectors, seen["pixels"]))


def test_the_second_decoders_networks_have_the_published_depths() -> None:
    second = small_model("h_sam").mask_decoder2
    assert {len(network.layers) for network in second.output_hypernetworks_mlps2} == {5}
    assert len(second.iou_prediction_head.layers) == 3
    assert len(small_model("h_sam").prompt_encoder.point_embeddings) == 11
