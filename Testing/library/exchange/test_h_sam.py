"""H-SAM's files, and the numbers that the published code gives with them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling.common import MLPBlock
from segment_anything.modeling.transformer import Attention
from torch import Tensor

from SAMoraLib.decoders.class_attention import attention_heads
from SAMoraLib.decoders.hierarchical import Prior, first_masks
from SAMoraLib.decoders.masked_transformer import cross_first
from SAMoraLib.exchange.h_sam import from_h_sam, to_h_sam
from SAMoraLib.model import Prediction, SegmentationModel, build_model
from SAMoraLib.parts import own_keys
from SAMoraLib.variants import EncoderSize, get_variant
from SAMoraLib.weights.sam import load_base
from Testing.golden import Golden, assert_golden, fixtures, key_shapes

EVERY_FIXTURE = pytest.mark.parametrize("published", fixtures("hsam"), indirect=True)
STAGES = {
    "dec1_up_embed": "mask_decoder.output_upscaling",
    "dec2_hs": "mask_decoder2.transformer2.norm_final_attn",
    "dec2_attn_out": "mask_decoder2.transformer2.final_attn_token_to_image",
    "dec2_iou": "mask_decoder2.iou_prediction_head",
    "enc_image_embeddings": "image_encoder",
}


@dataclass(frozen=True)
class Published:
    """A fixture, our model with its weights, what the model gives on its input, and what its parts gave on the way."""

    golden: Golden
    model: SegmentationModel
    prediction: Prediction
    seen: dict[str, Tensor]

    @property
    def stride(self) -> int:
        """Large maps are stored with every so many pixels."""
        return self.golden.meta["spatial_subsample"]

    def prior(self) -> Prior:
        encoder, prompt = self.model.prompt_encoder, self.model.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        return first_masks(self.model.mask_decoder, self.seen["image_encoder"] + prompt, encoder.get_dense_pe(),
                           cross_first)


def published_model(golden: Golden) -> SegmentationModel:
    """base -> ``load_base`` at the fixture's image size -> LoRA file, as the fixture's recipe says."""
    c, base, lora = golden.meta["constructor"], golden.weights("base_sam_checkpoint"), golden.weights("lora_checkpoint")
    size = EncoderSize(c["embed"], c["depth"], c["heads"], tuple(c["gidx"]), window_size=c["win"], out_chans=c["pdim"],
                       mask_in_chans=base["prompt_encoder.mask_downscaling.3.weight"].shape[0],
                       decoder_heads=c["twh"], decoder_mlp_dim=c["mlp_dim"], iou_hidden_dim=c["iou"])
    variant = get_variant("h_sam", rank=golden.meta["rank"], encoder_size=size, cm_attention="released")
    model = build_model(variant, c["nc"], c["img_size"])
    narrow_class_attention(model, lora)
    load_base(model, base)
    missing, unexpected = model.load_state_dict(from_h_sam(lora), strict=False)
    # The file holds what H-SAM trains, to the last tensor: everything else is the base's.
    assert not unexpected
    assert not set(missing) & set(own_keys(model, model.variant.trained))
    return model.eval()


def narrow_class_attention(model: SegmentationModel, lora: dict[str, Tensor]) -> None:
    """To the fixture's widths, which are not the published ones."""
    inner, positions = lora["mask_decoder2.self_attn.q_proj.weight"].shape
    attention = model.mask_decoder2.class_attention
    for name in ("self_attn", "self_attn2"):
        setattr(attention, name, Attention(positions, attention_heads(positions), downsample_rate=positions // inner))
    attention.mlp = MLPBlock(positions, lora["mask_decoder2.mlp.lin1.bias"].shape[0], type(attention.mlp.act))


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Published:
    golden: Golden = request.param
    model, seen = published_model(golden), {}
    for name, module in model.named_modules():
        module.register_forward_hook(lambda *call, name=name: seen.update({name: call[2]}))
    layer = model.mask_decoder2.transformer2.layers[0].cross_attn_token_to_image
    layer.register_forward_hook(lambda *call: seen.update(prior=call[1][3], values=call[1][2]))
    return Published(golden, model, model(golden.io["input_u8"].unsqueeze(2) / 255), seen)


def assert_nearly_golden(actual: Tensor, reference: Tensor) -> None:
    """``assert_golden`` for all but one in a thousand pixels.

    The fixtures normalise two channels alone before the last product: where the two are equal to 1e-6, that divides by
    nothing, and the published code in float32 is itself as far from its own result in float64.
    """
    assert actual.shape == reference.shape
    off = (actual - reference).abs() > 1e-4 * max(1.0, float(reference.std())) + 1e-4 * reference.abs()
    assert off.float().mean() < 1e-3


@EVERY_FIXTURE
def test_stages(published: Published) -> None:
    io = published.golden.io
    for name, module in STAGES.items():
        assert_golden(published.seen[module], io[name])
    blocks = [name for name in io if name.startswith("enc_block")]
    assert blocks
    for name in blocks:
        assert_golden(published.seen[f"image_encoder.blocks.{name.removeprefix('enc_block')}"], io[name])


@EVERY_FIXTURE
def test_the_first_decoder(published: Published) -> None:
    io, prior = published.golden.io, published.prior()
    iou = published.model.mask_decoder.iou_prediction_head(
        published.seen["mask_decoder.transformer.norm_final_attn"][:, 0])
    assert_golden(prior.logits, io["dec1_low_res"])
    assert_golden(prior.features, io["dec1_msk_feat"])
    assert_golden(iou, io["dec1_iou"])


@EVERY_FIXTURE
def test_the_second_decoders_embedding_is_doubled_whatever_its_class_attention_says(published: Published) -> None:
    io, source = published.golden.io, published.seen["values"].transpose(1, 2)
    assert_golden(source, io["dec2_src_in"].flatten(2))
    assert_golden(published.seen["prior"], io["dec2_mask_feat"])
    assert_golden(published.model.mask_decoder2.class_attention.attend(published.prior().features), io["dec2_med_sel"])


@EVERY_FIXTURE
def test_predictions(published: Published) -> None:
    io, stride = published.golden.io, published.stride
    first, second = (logits[:, :, 0] for logits in published.prediction.auxiliary)
    enlarged = F.interpolate(first, second.shape[-2:], mode="bilinear", align_corners=False)
    assert_golden(enlarged[..., ::stride, ::stride], io["masks1"])
    assert_nearly_golden(second[..., ::stride, ::stride], io["masks2"])
    assert_nearly_golden(second[..., ::stride, ::stride], io["dec2_low_res"])
    assert enlarged.sum().item() == pytest.approx(io["sum_masks1"].item(), rel=1e-4)
    assert second.sum().item() == pytest.approx(io["sum_masks2"].item(), rel=1e-4)
    assert (second.argmax(1) != io["pred_stage2"]).float().mean() < 1e-4
    assert (published.prediction.logits[:, :, 0].argmax(1) != io["pred_stage3"]).float().mean() < 1e-4


@pytest.mark.parametrize("image_size", [224, 512])
def test_a_published_file_is_what_the_row_trains(image_size: int) -> None:
    """ViT-B, 8 organs: every tensor has a place of its shape, and no place is left."""
    shapes = key_shapes(f"hsam_ckpt_{image_size}")
    tensors = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    with torch.device("meta"):
        model = build_model(get_variant("h_sam"), 8, image_size)
    ours, renamed = model.state_dict(), from_h_sam(tensors)
    twice = [key for key in tensors if key.startswith("prompt_encoder2.")]
    assert (len(tensors), len(renamed)) == (489, 489 - len(twice))
    assert set(renamed) == set(own_keys(model, model.variant.trained))
    assert all(ours[key].shape == value.shape for key, value in renamed.items())


@pytest.mark.parametrize(("theirs", "ours"), [
    ("w_a_000", "image_encoder.blocks.0.attn.qkv.lora.default.q.a"),
    ("mask_decoder2.self_attn2.q_proj.weight", "mask_decoder2.class_attention.self_attn2.q_proj.weight"),
    ("mask_decoder2.norm1.bias", "mask_decoder2.class_attention.norm1.bias"),
    ("mask_decoder2.mlp.lin1.weight", "mask_decoder2.class_attention.mlp.lin1.weight"),
    ("mask_decoder2.med_sel.0.bias", "mask_decoder2.class_attention.med_sel.0.bias"),
    ("mask_decoder2.transformer2.layers.0.self_attn.q_proj.weight",
     "mask_decoder2.transformer2.layers.0.self_attn.q_proj.weight"),
    ("mask_decoder2.output_upscaling.1.weight", "mask_decoder2.output_upscaling.1.weight"),
    ("prompt_encoder.no_mask_embed.weight", "prompt_encoder.no_mask_embed.weight"),
])
def test_names(theirs: str, ours: str) -> None:
    assert list(from_h_sam({theirs: torch.zeros(1)})) == [ours]


def test_the_prompt_encoders_copy_is_left_out() -> None:
    assert not from_h_sam({"prompt_encoder2.no_mask_embed.weight": torch.zeros(1)})


def test_the_prompt_encoder_goes_out_under_both_its_names_and_comes_back_under_one() -> None:
    ours = {"prompt_encoder.no_mask_embed.weight": torch.ones(1, 4),
            "mask_decoder.mask_tokens.weight": torch.ones(2, 4),
            "mask_decoder2.class_attention.norm1.weight": torch.ones(3),
            "mask_decoder2.transformer2.norm_final_attn.bias": torch.ones(4)}
    theirs = to_h_sam(ours)
    assert set(theirs) == {"prompt_encoder.no_mask_embed.weight", "prompt_encoder2.no_mask_embed.weight",
                           "mask_decoder.mask_tokens.weight", "mask_decoder2.norm1.weight",
                           "mask_decoder2.transformer2.norm_final_attn.bias"}
    one, other = (theirs[f"{name}.no_mask_embed.weight"] for name in ("prompt_encoder", "prompt_encoder2"))
    assert torch.equal(one, other) and one.data_ptr() != other.data_ptr(), "as two tensors"
    assert from_h_sam(theirs).keys() == ours.keys()
