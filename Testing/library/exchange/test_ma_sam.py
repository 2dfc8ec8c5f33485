"""MA-SAM's files, and the numbers that the published code gives with them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.exchange.ma_sam import from_ma_sam, to_ma_sam
from SAMoraLib.model import Prediction, SegmentationModel, build_model
from SAMoraLib.parts import own_keys
from SAMoraLib.variants import EncoderSize, get_variant
from SAMoraLib.weights.sam import load_base
from Testing.golden import Golden, assert_golden, fixtures, key_shapes
from Training.objectives.losses import dice_loss, segmentation_loss

EVERY_FIXTURE = pytest.mark.parametrize("published", fixtures("masam"), indirect=True)


@dataclass(frozen=True)
class Published:
    """A fixture, our model with its weights, and what the model gives on its input."""

    io: dict[str, Tensor]
    model: SegmentationModel
    prediction: Prediction
    encoder: dict[str, Tensor]
    label: Tensor


def published_model(golden: Golden) -> SegmentationModel:
    """base -> ``load_base`` at the fixture's image size -> adapters, as the fixture's recipe says."""
    c, base = golden.meta["constructor"], golden.weights("base_sam_checkpoint")
    adapted = golden.weights("adapt_checkpoint")
    size = EncoderSize(c["embed"], c["depth"], c["heads"], tuple(c["gidx"]), window_size=c["win"], out_chans=c["pdim"],
                       mask_in_chans=base["prompt_encoder.mask_downscaling.3.weight"].shape[0],
                       decoder_heads=c["twh"], decoder_mlp_dim=c["mlp_dim"], iou_hidden_dim=c["iou"],
                       depth_width=c["ac"])
    model = build_model(get_variant("ma_sam", rank=golden.meta["rank"], encoder_size=size), c["nc"], c["img_size"])
    load_base(model, base)
    missing, unexpected = model.load_state_dict(from_ma_sam(adapted), strict=False)
    # The file holds what MA-SAM trains, to the last tensor: everything else is the base's.
    assert not unexpected
    assert not set(missing) & set(own_keys(model, model.variant.trained))
    return model.eval()


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Published:
    golden: Golden = request.param
    model, encoder = published_model(golden), {}
    watched = {"image_embeddings": model.image_encoder,
               **{f"block{i}": block for i, block in enumerate(model.image_encoder.blocks)}}
    for name, module in watched.items():
        module.register_forward_hook(lambda *call, name=name: encoder.update({f"enc_{name}": call[2].detach()}))
    with torch.no_grad():
        prediction = model(golden.io["input_1ch"].transpose(1, 2))
    label = golden.io["label"].unflatten(0, (golden.meta["batch"], golden.meta["slices"])).long()
    return Published(golden.io, model, prediction, encoder, label)


@EVERY_FIXTURE
def test_the_encoder_across_slices(published: Published) -> None:
    assert set(published.encoder) == {name for name in published.io if name.startswith("enc_")}
    for name, value in published.encoder.items():
        assert_golden(value, published.io[name])


@EVERY_FIXTURE
def test_masks(published: Published) -> None:
    io, prediction = published.io, published.prediction
    assert_golden(prediction.low_res_logits.transpose(1, 2).flatten(0, 1), io["low_res_logits"])
    assert_golden(prediction.iou_predictions.transpose(1, 2).flatten(0, 1), io["iou_predictions"])
    assert io["masks_equals_low_res"] == 0  # the difference between the two
    assert torch.equal(prediction.logits, prediction.low_res_logits)


@EVERY_FIXTURE
def test_losses_leave_out_what_nobody_labelled(published: Published) -> None:
    logits, label = published.prediction.low_res_logits, published.label
    assert (label == -100).any()
    assert_golden(F.cross_entropy(logits, label), published.io["loss_ce"])
    assert_golden(dice_loss(logits, label), published.io["loss_dice"])
    assert_golden(segmentation_loss(logits, label), published.io["loss_total"])


def test_a_published_file_is_what_the_row_trains() -> None:
    """ViT-B, 12 organs, 512 pixels: every tensor has a place of its shape, and no place is left."""
    shapes = key_shapes("masam_ckpt")
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with torch.device("meta"):
        model = build_model(get_variant("ma_sam"), 12, 512)
    ours, renamed = model.state_dict(), from_ma_sam(tensors)
    assert len(renamed) == len(tensors) == 369
    assert set(renamed) == set(own_keys(model, model.variant.trained))
    assert all(ours[key].shape == value.shape for key, value in renamed.items())


@pytest.mark.parametrize(("theirs", "ours"), [
    ("q_FacTs_000", "image_encoder.blocks.0.attn.qkv.fact.q.weight"),
    ("v_FacTs_031", "image_encoder.blocks.31.attn.qkv.fact.v.weight"),
    ("q_FacTs_049", "image_encoder.blocks.49.attn.qkv.fact.q.weight"),
    ("image_encoder.FacTu.weight", "image_encoder.fact.u.weight"),
    ("image_encoder.FacTv.weight", "image_encoder.fact.v.weight"),
    ("image_encoder.ImageEncoderViT.blocks.7.Block.adapter_conv.bias",
     "image_encoder.blocks.7.depth_adapters.0.conv.bias"),
    ("image_encoder.ImageEncoderViT.blocks.11.Block.adapter_linear_up_2.weight",
     "image_encoder.blocks.11.depth_adapters.1.up.weight"),
    ("mask_decoder.output_upscaling.9.bias", "mask_decoder.output_upscaling.9.bias"),
])
def test_names(theirs: str, ours: str) -> None:
    assert list(from_ma_sam({theirs: torch.zeros(1)})) == [ours]
    assert list(to_ma_sam({ours: torch.zeros(1)})) == [theirs]
