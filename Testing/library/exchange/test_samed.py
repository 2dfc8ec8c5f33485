"""SAMed's and SAMed_s's files, and the numbers that the published code gives with them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.exchange.samed import from_samed, to_samed
from SAMoraLib.model import Prediction, SegmentationModel, build_model
from SAMoraLib.parts import own_keys
from SAMoraLib.variants import EncoderSize, get_variant
from SAMoraLib.weights.sam import load_base
from Testing.golden import Golden, assert_golden, fixtures, key_shapes
from Training.objectives.losses import dice_loss, segmentation_loss

EVERY_FIXTURE = pytest.mark.parametrize("published", fixtures("samed"), indirect=True)


@dataclass(frozen=True)
class Published:
    """A fixture, our model with its weights, and what the model gives on its input."""

    io: dict[str, Tensor]
    model: SegmentationModel
    prediction: Prediction
    encoder: dict[str, Tensor]


def published_model(golden: Golden) -> SegmentationModel:
    """base -> ``load_base`` at the fixture's image size -> LoRA file, as the fixture's recipe says."""
    c, base, lora = golden.meta["constructor"], golden.weights("base_sam_checkpoint"), golden.weights("lora_checkpoint")
    size = EncoderSize(c["embed"], c["depth"], c["heads"], tuple(c["gidx"]), window_size=c["win"], out_chans=c["pdim"],
                       mask_in_chans=base["prompt_encoder.mask_downscaling.3.weight"].shape[0], decoder_heads=4,
                       decoder_mlp_dim=c["mlp_dim"],
                       iou_hidden_dim=base["mask_decoder.iou_prediction_head.layers.0.bias"].shape[0])
    row = "samed_s" if golden.meta["module"].endswith("mask_decoder") else "samed"
    model = build_model(get_variant(row, rank=golden.meta["rank"], encoder_size=size), c["nc"], c["img_size"]).eval()
    load_base(model, base)
    missing, unexpected = model.load_state_dict(from_samed(lora), strict=False)
    # The file holds what SAMed trains, to the last tensor: everything else is the base's.
    assert not unexpected
    assert not set(missing) & set(own_keys(model, model.variant.trained))
    return model


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Published:
    golden: Golden = request.param
    model, encoder = published_model(golden), {}
    watched = {"patch_embed": model.image_encoder.patch_embed, "image_embeddings": model.image_encoder,
               **{f"block{i}": block for i, block in enumerate(model.image_encoder.blocks)}}
    for name, module in watched.items():
        module.register_forward_hook(lambda *call, name=name: encoder.update({f"enc_{name}": call[2].detach()}))
    prediction = model(golden.io["input_1ch"].unsqueeze(2))
    return Published(golden.io, model, prediction, encoder)


@EVERY_FIXTURE
def test_the_encoder_at_another_image_size(published: Published) -> None:
    assert_golden(published.model.image_encoder.pos_embed, published.io["resized_pos_embed"])
    assert set(published.encoder) == {name for name in published.io if name.startswith("enc_")}
    for name, value in published.encoder.items():
        assert_golden(value, published.io[name])


@EVERY_FIXTURE
def test_masks(published: Published) -> None:
    io, prediction = published.io, published.prediction
    assert_golden(published.model.prompt_encoder.get_dense_pe(), io["dense_pe"])
    assert_golden(prediction.low_res_logits.squeeze(2), io["low_res_logits"])
    assert_golden(prediction.logits.squeeze(2), io["masks"])
    assert_golden(prediction.iou_predictions.squeeze(2), io["iou_predictions"])


@EVERY_FIXTURE
def test_losses(published: Published) -> None:
    logits, label = published.prediction.low_res_logits, published.io["label_lowres"].unsqueeze(1)
    assert_golden(F.cross_entropy(logits, label), published.io["loss_ce"])
    assert_golden(dice_loss(logits, label), published.io["loss_dice"])
    assert_golden(segmentation_loss(logits, label), published.io["loss_total"])


@EVERY_FIXTURE
def test_gradients(published: Published) -> None:
    names = {name: name.removeprefix("grad_") for name in published.io if name.startswith("grad_w_")}
    keys = {name: next(iter(from_samed({short: torch.empty(0)}))) for name, short in names.items()}
    keys["grad_mask_tokens"] = "mask_decoder.mask_tokens.weight"
    loss = segmentation_loss(published.prediction.low_res_logits, published.io["label_lowres"].unsqueeze(1))
    parameters = [published.model.get_parameter(key) for key in keys.values()]
    gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
    assert len(gradients) >= 3
    for name, gradient in zip(keys, gradients, strict=True):
        assert_golden(gradient, published.io[name])


@pytest.mark.parametrize(("row", "file"), [("samed", "samed_ckpt"), ("samed_s", "samed_s_ckpt")])
def test_a_published_file_is_what_the_row_trains(row: str, file: str) -> None:
    """ViT-B, 8 organs, 512 pixels: every tensor has a place of its shape, and no place is left."""
    shapes = key_shapes(file)
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with torch.device("meta"):
        model = build_model(get_variant(row), 8, 512)
    ours = model.state_dict()
    renamed = from_samed(tensors)
    assert len(renamed) == len(tensors)
    assert set(renamed) == set(own_keys(model, model.variant.trained))
    assert all(ours[key].shape == value.shape for key, value in renamed.items())


@pytest.mark.parametrize(("theirs", "ours"), [
    ("w_a_000", "image_encoder.blocks.0.attn.qkv.lora.default.q.a"),
    ("w_b_003", "image_encoder.blocks.1.attn.qkv.lora.default.v.b"),
    ("w_b_023", "image_encoder.blocks.11.attn.qkv.lora.default.v.b"),
    ("w_a_062", "image_encoder.blocks.31.attn.qkv.lora.default.q.a"),  # ViT-H's last
    ("w_b_099", "image_encoder.blocks.49.attn.qkv.lora.default.v.b"),
    ("sa_a_001", "mask_decoder.transformer.layers.0.self_attn.v_proj.lora.default.v.a"),
    ("cti_b_002", "mask_decoder.transformer.layers.1.cross_attn_token_to_image.q_proj.lora.default.q.b"),
    ("cit_a_003", "mask_decoder.transformer.layers.1.cross_attn_image_to_token.v_proj.lora.default.v.a"),
    ("fati_qa", "mask_decoder.transformer.final_attn_token_to_image.q_proj.lora.default.q.a"),
    ("fati_vb", "mask_decoder.transformer.final_attn_token_to_image.v_proj.lora.default.v.b"),
    ("mask_decoder.mask_tokens.weight", "mask_decoder.mask_tokens.weight"),
    ("prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
])
def test_names(theirs: str, ours: str) -> None:
    assert list(from_samed({theirs: torch.zeros(1)})) == [ours]
    assert list(to_samed({ours: torch.zeros(1)})) == [theirs]
