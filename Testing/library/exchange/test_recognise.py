"""Published files, recognised by the names and shapes of their tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from SAMoraLib.exchange.recognise import recognise, with_fact_scale
from SAMoraLib.exchange.systems import SYSTEMS
from SAMoraLib.model import build_model
from SAMoraLib.variants import get_variant
from Testing.golden import key_shapes
from Testing.refusals import refusal
from Testing.small import SIZE

Tensors = dict[str, Tensor]


def listed(name: str) -> Tensors:
    return {key: torch.empty(shape, device="meta") for key, shape in key_shapes(name).items()}


def made(system: str, encoder: str, rank: int, classes: int, image_size: int) -> Tensors:
    """As the system's code saves it, of the real encoders' shapes, without memory for them."""
    variant = replace(SYSTEMS[system].variant, encoder=encoder, rank=rank)
    with torch.device("meta"):
        model = build_model(variant, classes, image_size)
    state = model.state_dict()
    return SYSTEMS[system].to_theirs({key: state[key] for key in SYSTEMS[system].own_keys(model)})


@pytest.fixture(scope="module")
def samed() -> Tensors:
    return made("samed", "tiny", 4, 8, 160)


@pytest.mark.parametrize(("name", "key", "rank", "classes", "size"), [
    ("samed_ckpt", "samed", 4, 8, (512, "default")),
    ("samed_s_ckpt", "samed_s", 4, 8, (512, "default")),
    ("hsam_ckpt_224", "h_sam", 4, 8, (224, "file")),
    ("hsam_ckpt_512", "h_sam", 4, 8, (512, "file")),
    ("masam_ckpt", "ma_sam", 32, 12, (512, "default")),
])
def test_the_published_names_and_shapes(name: str, key: str, rank: int, classes: int, size: tuple[int, str]) -> None:
    source = recognise(listed(name))
    assert (source.key, source.variant.encoder, source.variant.rank) == (key, "vit_b", rank)
    assert (source.classes, (source.image_size, source.size_from)) == (classes, size)


@pytest.mark.parametrize("name", ["hsam_ckpt_224", "hsam_ckpt_512"])
def test_the_published_class_attention_is_as_wide_as_its_positions(name: str) -> None:
    assert recognise(listed(name)).variant.cm_widths == (0, 0)


def test_pairs_alone_are_a_plain_lora() -> None:
    source = recognise({key: value for key, value in listed("samed_ckpt").items() if key.startswith("w_")})
    assert (source.key, source.variant.encoder, source.variant.rank) == ("sam_lora", "vit_b", 4)
    assert source.classes is None


@pytest.mark.parametrize(("system", "encoder", "rank", "classes", "image_size"), [
    ("samed", "vit_h", 4, 8, 512), ("h_sam", "vit_l", 5, 1, 224), ("ma_sam", "vit_h", 32, 12, 512),
    ("sam_lora", "vit_l", 16, 8, 1024), ("samed_s", "vit_l", 2, 13, 224),
])
def test_larger_encoders_and_other_ranks(system: str, encoder: str, rank: int, classes: int, image_size: int) -> None:
    source = recognise(made(system, encoder, rank, classes, image_size), None if system == "h_sam" else image_size)
    assert (source.key, source.variant.encoder, source.variant.rank) == (system, encoder, rank)
    assert source.image_size == image_size
    assert source.classes == (classes if system != "sam_lora" else None)


def test_a_published_h_sam_keeps_the_class_attention_that_it_was_released_with() -> None:
    assert recognise(made("h_sam", "tiny", 5, 2, 80)).variant.cm_attention == "released"
    assert get_variant("h_sam").cm_attention == "paper"


@pytest.mark.parametrize("system", SYSTEMS)
def test_names_go_there_and_back(system: str) -> None:
    theirs = made(system, "tiny", 4, 2, 80)
    back = SYSTEMS[system].to_theirs(SYSTEMS[system].to_ours(dict(theirs)))
    assert set(back) == set(theirs)
    assert all(back[key].shape == value.shape for key, value in theirs.items())
    assert len(set(SYSTEMS[system].to_ours(dict(theirs)))) == len([k for k in theirs if "prompt_encoder2" not in k])


def without(*keys: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: value for key, value in tensors.items() if key not in keys}


def with_shape(key: str, *shape: int) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {key: torch.empty(shape, device="meta")}


@pytest.mark.parametrize(("change", "sentence"), [
    (without("mask_decoder.iou_token.weight"),
     "The file lacks 1 tensors that SAMed files have, first 'mask_decoder.iou_token.weight'"),
    (without("w_a_000"), "The file lacks 'w_a_000'"),
    (without("w_b_011", "w_a_003"), "lacks 2 tensors that SAMed files have, first 'w_a_003'"),
    (without("w_a_010", "w_a_011", "w_b_010", "w_b_011"), "a ViT of 5 blocks of width 128, which is none of vit_b (12 "
     "of 768), vit_l (24 of 1024)"),
    (with_shape("extra.weight", 3), "has 1 tensors that SAMed files do not have, first 'extra.weight'"),
    (with_shape("w_b_003", 128, 5), "'w_b_003' is (128, 5), SAMed on tiny at rank 4 with 8 classes has (128, 4)"),
    (with_shape("mask_decoder.mask_tokens.weight", 7, 128), "output_hypernetworks_mlps"),
    (with_shape("w_a_000", 4, 96), "a ViT of 6 blocks of width 96"),
    (with_shape("w_a_000", 4), "'w_a_000' is (4,), where a table of two sides belongs"),
])
def test_what_differs_is_named(samed: Tensors, change: Callable[[Tensors], Tensors], sentence: str) -> None:
    assert sentence in refusal(lambda: recognise(change(samed)))


@pytest.mark.parametrize(("tensors", "sentence"), [
    ({}, "holds 0 tensors, and none is named as an adapter of SAMed, SAMed_s, H-SAM"),
    ({"layer.weight": torch.ones(2)}, "holds 1 tensors, first 'layer.weight', and none is named"),
    ({"image_encoder.blocks.0.norm1.weight": torch.ones(2)}, "give it as --base"),
    ({"sam.blocks.0.norm1.weight": torch.ones(2)}, "TP-Mamba"),
    ({"sam.image_encoder.blocks.0.attn.qkv.qkv.weight": torch.ones(2)}, "a whole model of SAMed's, H-SAM's or"),
    ({"image_encoder.ImageEncoderViT.blocks.0.Block.attn.Attention.qkv.qkv.weight": torch.ones(2)}, "a whole model of"),
])
def test_other_files_are_refused(tensors: Tensors, sentence: str) -> None:
    assert sentence in refusal(lambda: recognise(tensors))


@pytest.mark.parametrize("name", ["tpmamba_sam_base", "tpmamba_sam_mamba", "tpmamba_sam_ms"])
def test_tp_mambas_models_are_told(name: str) -> None:
    assert "named as TP-Mamba's models are" in refusal(lambda: recognise(listed(name)))


def test_samed_whole_is_told() -> None:
    assert "a whole model of SAMed's" in refusal(lambda: recognise(listed("samed_full_state_dict")))


def test_an_h_sam_says_its_size_itself() -> None:
    message = refusal(lambda: recognise(made("h_sam", "tiny", 4, 2, 80), image_size=160))
    assert "spans 100 positions, those of 80 x 80 pixels, not of 160 x 160" in message


def test_a_pair_may_have_rank_1_and_no_side_of_nothing() -> None:
    assert recognise(made("samed", "tiny", 1, 2, 160)).variant.rank == 1
    assert "'w_a_000' is (0, 128), where a table of two sides belongs" in refusal(
        lambda: recognise(with_shape("w_a_000", 0, 128)(made("samed", "tiny", 4, 2, 160))))


@pytest.mark.parametrize("system", ["samed", "ma_sam"])
def test_an_encoder_without_a_name_is_the_one_of_the_size_that_is_given(system: str) -> None:
    variant = replace(SYSTEMS[system].variant, rank=3, encoder_size=SIZE)
    with torch.device("meta"):
        state = build_model(variant, 2, 32).state_dict()
        keys = SYSTEMS[system].own_keys(build_model(variant, 2, 32))
    tensors = SYSTEMS[system].to_theirs({key: state[key] for key in keys})
    assert recognise(tensors, 32, SIZE).variant == variant
    for other in (None, replace(SIZE, depth=3), replace(SIZE, embed_dim=64)):
        assert "a ViT of 2 blocks of width 32, which is none of" in refusal(
            lambda other=other: recognise(tensors, 32, other))
    named = recognise(made(system, "tiny", 3, 2, 80), 80, SIZE).variant
    assert named.encoder == "tiny" and named.encoder_size is None


@pytest.mark.parametrize(("wanted", "expected"), [(None, (512, "default")), (256, (256, "option"))])
def test_where_the_file_does_not_say_the_size_the_option_does(samed: Tensors, wanted: int | None,
                                                              expected: tuple[int, str]) -> None:
    source = recognise(samed, wanted)
    assert (source.image_size, source.size_from) == expected


@pytest.mark.parametrize("classes", [0, 256, 10**5])
def test_classes_that_no_label_volume_holds_are_refused_before_a_model_is_made_of_them(
        samed: Tensors, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("SAMoraLib.exchange.recognise.empty_model", None)
    tokens = with_shape("mask_decoder.mask_tokens.weight", classes + 1, 128)
    assert f"mask tokens of {classes} classes" in refusal(lambda: recognise(tokens(samed)))
    for size in (-8, 4096, 10**9):
        assert "beyond any model's" in refusal(lambda size=size: recognise(samed, size))
    monkeypatch.undo()
    assert "Image size 1 is not a multiple of the patch size" in refusal(lambda: recognise(samed, 1))


def test_numbers_that_are_thousands_of_digits_long_are_one_sentence(samed: Tensors) -> None:
    key = f"image_encoder.blocks.{'9' * 6000}.samora_adapter.experts.image.linear_a_q.weight"
    message = refusal(lambda: recognise({key: torch.zeros(4, 128)}))
    assert "which is none of" in message or "The file lacks" in message


def test_a_scale_is_facts_and_1_where_nobody_says_it() -> None:
    ma_sam, samed = recognise(listed("masam_ckpt")), recognise(listed("samed_ckpt"))
    assert with_fact_scale(ma_sam, 0.5).variant.low_rank_scale == 0.5
    assert with_fact_scale(ma_sam, None) is ma_sam and with_fact_scale(samed, None) is samed
    assert "has no FacT that a scale could multiply" in refusal(lambda: with_fact_scale(samed, 0.5))
