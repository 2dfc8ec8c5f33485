"""The table of variants."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from SAMoraLib.parts import PARTS
from SAMoraLib.variants import ENCODER_SIZES, HIERA_SIZES, VARIANTS, EncoderSize, Fusion, Variant, get_variant, row_on
from Testing.small import SIZE, is_sam2, small_variant


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_json_round_trip(variant: Variant) -> None:
    encoder = "hiera_l" if is_sam2(variant.name) else "vit_h"
    for changed in (variant, replace(variant, encoder=encoder, rank=8), small_variant(variant.name)):
        assert Variant.from_json(json.loads(json.dumps(changed.to_json()))) == changed


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_rows_train_parts_that_exist(variant: Variant) -> None:
    assert set(variant.trained) <= set(PARTS)
    assert (variant.fusion is not None) == ("fusion" in variant.trained)
    assert (variant.fusion is not None) == (variant.adapters == ("image", "patch", "pixel"))


@pytest.mark.parametrize(("name", "expected"), [
    ("hiera_b+", (112, 2, (2, 3, 16, 3), (12, 16, 20), (8, 4, 14, 7), 14)),
    ("hiera_t", (96, 1, (1, 2, 7, 2), (5, 7, 9), (8, 4, 14, 7), 7)),
    ("hiera_s", (96, 1, (1, 2, 11, 2), (7, 10, 13), (8, 4, 14, 7), 7)),
    ("hiera_l", (144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), 7)),
])
def test_hieras_sizes_are_metas(name: str, expected: tuple) -> None:
    size = HIERA_SIZES[name]
    assert (size.embed_dim, size.num_heads, size.stages, size.global_attn_indexes, size.window_spec,
            size.background) == expected
    assert (size.out_chans, size.patch_size, size.decoder_mlp_dim, size.decoder_heads) == (256, 16, 2048, 8)


@pytest.mark.parametrize(("name", "expected"), [("vit_b", (768, 12, 12, (2, 5, 8, 11))),
                                                ("vit_l", (1024, 24, 16, (5, 11, 17, 23))),
                                                ("vit_h", (1280, 32, 16, (7, 15, 23, 31)))])
def test_sizes_are_metas(name: str, expected: tuple) -> None:
    size = ENCODER_SIZES[name]
    assert (size.embed_dim, size.depth, size.num_heads, size.global_attn_indexes) == expected
    assert (size.window_size, size.patch_size, size.out_chans) == (14, 16, 256)


@pytest.mark.parametrize(("name", "changes", "sees"), [
    ("samed", {}, "slices"), ("samora", {}, "slices"), ("samed_2", {}, "slices"), ("ma_sam", {}, "slabs"),
    ("samed", {"depth": 2}, "slabs"), ("samed", {"prompt": "box"}, "slabs"), ("tp_mamba", {}, "blocks"),
    ("tp_mamba", {"depth": 1}, "blocks")])
def test_a_row_sees_slices_slabs_or_blocks(name: str, changes: dict, sees: str) -> None:
    assert get_variant(name, **changes).sees == sees


@pytest.mark.parametrize(("encoder", "row"), [("vit_b", "samora"), ("tiny", "samora"), ("hiera_l", "samora_2")])
def test_a_row_has_its_like_on_sam_2(encoder: str, row: str) -> None:
    assert row_on(encoder, "samora") == row and get_variant(row, encoder).encoder == encoder


@pytest.mark.parametrize("heads", [1, 2, 16, 32])
def test_heads_divide_the_width(heads: int) -> None:
    assert EncoderSize(32, 2, heads, (1,)).num_heads == heads


def test_hieras_stages_double_their_channels() -> None:
    assert HIERA_SIZES["hiera_b+"].channels == (112, 224, 448, 896)
    assert HIERA_SIZES["hiera_l"].depth == 48


def test_fields_can_be_changed_and_the_table_stays() -> None:
    changed = get_variant("samed", "vit_l", rank=8)
    assert (changed.encoder, changed.rank, changed.size) == ("vit_l", 8, ENCODER_SIZES["vit_l"])
    assert (VARIANTS["samed"].encoder, VARIANTS["samed"].rank) == ("vit_b", 4)


def test_an_own_size_takes_the_place_of_the_named_one() -> None:
    assert get_variant("samed", encoder_size=SIZE).size is SIZE


@pytest.mark.parametrize(("make", "message"), [
    (lambda: get_variant("samed2"), f"Unknown variant 'samed2'; choose from {', '.join(VARIANTS)}."),
    (lambda: get_variant("samed", "vit_g"), "Unknown encoder 'vit_g'; choose from vit_b, vit_l, vit_h, tiny."),
    (lambda: get_variant("samed_2", "tiny"),
     "Unknown encoder 'tiny'; choose from hiera_b+, hiera_t, hiera_s, hiera_l, hiera_nano."),
    (lambda: Fusion(scope="window"), "Unknown fusion scope 'window'; choose from block, attention."),
    (lambda: Fusion(inputs="sum"), "Unknown fusion inputs 'sum'; choose from difference, stream, mixed."),
    (lambda: Fusion(kind="hcat", norm=True, heads=8),
     "A fusion's heads, norm can be chosen of hl_attn alone, and this one is hcat; leave it out, or choose hl_attn."),
    (lambda: Fusion(kind="mole", inputs="mixed"),
     "A fusion's mixed inputs can be chosen of hl_attn alone, and this one is mole; leave it out, or choose hl_attn."),
    (lambda: Fusion(width=100, heads=8),
     "The fusion's width 100 cannot be divided into 8 equal heads; choose a multiple."),
    (lambda: Fusion(width=8, heads=8, self_attention=True),
     "The fusion's width 8 cannot be divided into 16 equal heads; choose a multiple."),
    (lambda: Fusion(order="1-1-1"), "Unknown fusion order '1-1-1'; choose from 2-1-1, 1-1-2, 1-2-1."),
    (lambda: EncoderSize(32, 2, 5, (1,)), "5 heads do not divide the encoder's width 32; choose a divisor."),
    (lambda: EncoderSize(32, 2, 4, (1,), decoder_heads=0),
     "0 heads do not divide the decoder's width 256; choose a divisor."),
])
def test_unknown_values_are_answered_with_the_choices(make, message: str) -> None:
    with pytest.raises(ValueError) as error:
        make()
    assert str(error.value) == message


def test_experts_are_fused_as_plain_pairs_alone() -> None:
    """What adds several pairs at once knows no GELU between them, and would leave it out."""
    with pytest.raises(ValueError, match="Experts are fused as plain low-rank pairs, not as 'lora_gelu'; choose lora"):
        get_variant("samora", low_rank="lora_gelu")


@pytest.mark.parametrize("inside", [None, "fusion", "encoder_size"])
def test_fields_of_a_newer_version_are_named(inside: str | None) -> None:
    data = json.loads(json.dumps(get_variant("samora", encoder_size=SIZE).to_json()))
    (data if inside is None else data[inside])["gates"] = 2
    with pytest.raises(ValueError, match=r"unknown \w+ fields gates; it was written by a newer version"):
        Variant.from_json(data)


def test_fact_may_be_scaled_and_a_card_is_written_as_before_where_it_is_not() -> None:
    scaled = get_variant("ma_sam", low_rank_scale=0.5)
    assert Variant.from_json(scaled.to_json()) == scaled and scaled.to_json()["low_rank_scale"] == 0.5
    assert all("low_rank_scale" not in variant.to_json() for variant in VARIANTS.values())
    for name, scale in (("samed", 2.0), ("ma_sam", 0.0), ("ma_sam", math.nan), ("ma_sam", math.inf), ("ma_sam", -1.0)):
        with pytest.raises(ValueError, match="cannot be multiplied by"):
            get_variant(name, low_rank_scale=scale)


def test_widths_of_the_class_attention_go_through_the_card() -> None:
    narrow = get_variant("h_sam", cm_widths=(28, 16))
    assert Variant.from_json(json.loads(json.dumps(narrow.to_json()))) == narrow
    assert all("cm_widths" not in variant.to_json() for variant in VARIANTS.values())
    for widths in ((1,), (-1, 2), (1.5, 2)):
        with pytest.raises(ValueError, match="are not two whole numbers from 0"):
            get_variant("h_sam", cm_widths=widths)


READING = {"heads": 8, "norm": True, "self_attention": True, "gain": True}


@pytest.mark.parametrize("chosen", [{}, *({name: value} for name, value in READING.items()), READING],
                         ids=lambda chosen: "+".join(chosen) or "none")
def test_the_reading_of_hl_attn_goes_through_the_card(chosen: dict[str, object]) -> None:
    """And a card says nothing of what versions before did not know, where it is as they had it."""
    variant = get_variant("samora", fusion=Fusion(**chosen))
    data = json.loads(json.dumps(variant.to_json()))
    assert Variant.from_json(data) == variant
    assert set(data["fusion"]) & set(READING) == set(chosen)
