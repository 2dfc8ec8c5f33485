"""Files of SAMora's released code: an expert of them is ours, with its scale, and what else they hold is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from SAMoraLib.checkpoint import load_experts
from SAMoraLib.exchange.convert import import_published, read_published
from SAMoraLib.exchange.recognise import recognise
from SAMoraLib.exchange.samora import expert_of, from_samora, lacks_scales, scaled_expert, to_samora
from SAMoraLib.model import build_model
from SAMoraLib.variants import EXPERTS
from Testing.closeness import assert_close
from Testing.golden import key_shapes
from Testing.published_files import write_sam
from Testing.refusals import refusal
from Testing.small import SIZE, small_variant

Tensors = dict[str, Tensor]
ADAPTER = "image_encoder.blocks.{}.samora_adapter."
FUSIONS = ("fuser", "hl_attn")  # of its two wrappers


def stage_1(expert: str, scale: float | None = None) -> Tensors:
    generator = torch.Generator().manual_seed(EXPERTS.index(expert))
    tensors = {}
    for block in range(SIZE.depth):
        for part in "qv":
            for half, shape in (("a", (4, 32)), ("b", (32, 4))):
                name = f"{ADAPTER.format(block)}experts.{expert}.linear_{half}_{part}.weight"
                tensors[name] = torch.randn(shape, generator=generator)
        if scale is not None:
            tensors[f"{ADAPTER.format(block)}{expert}_scale"] = torch.tensor(scale + block)
    return tensors


def stage_2(fusion: str, scale: float | None = None) -> Tensors:
    experts = {key: value for expert in EXPERTS for key, value in stage_1(expert, scale).items()}
    fused = {f"{ADAPTER.format(block)}{fusion}.low_level_fuser.query_norm.weight": torch.ones(32) for block in (0, 1)}
    return experts | fused | {"mask_decoder.iou_token.weight": torch.ones(1, 32)}


@pytest.mark.parametrize("expert", EXPERTS)
def test_names_go_there_and_back(expert: str) -> None:
    theirs = stage_1(expert)
    ours = from_samora(theirs)
    assert f"image_encoder.blocks.1.attn.qkv.lora.{expert}.v.b" in ours and len(ours) == len(theirs)
    assert to_samora(ours) == theirs
    assert set(map(expert_of, theirs)) == {expert} and expert_of("mask_decoder.iou_token.weight") == ""


def write(path: Path, tensors: Tensors, stage: int) -> Path:
    """As its code saves it."""
    torch.save({"state_dict_type": f"samora_stage{stage}", "rank": 4, "lora_layer": None, "model": tensors}, path)
    return path


@pytest.mark.parametrize("scale", [None, 0.5])
@pytest.mark.parametrize("stage", [1, 2])
def test_an_expert_gives_the_change_that_it_gives_there(scale: float | None, stage: int, tmp_path: Path) -> None:
    """W x + scale B A x on q, of a whole file: imported, and put into SAMora's row beside the two others."""
    base = write_sam(tmp_path / "base.safetensors")
    paths = []
    for expert in EXPERTS:
        content = stage_1(expert, scale) if stage == 1 else stage_2("fuser", scale)
        path = write(tmp_path / f"{expert}.pth", content, stage)
        found = read_published(path, image_size=32, encoder_size=SIZE, expert=None if stage == 1 else expert)
        assert found.report()["scales"] == ("in the file" if scale else "1, which the file does not say")
        paths.append(tmp_path / f"{expert}.safetensors")
        card = import_published(found, base, paths[-1])
        assert (card.kind, card.name, card.variant.name) == ("expert", expert, f"expert_{expert}")
    model = build_model(small_variant("samora"), 4, 32)
    load_experts(model, paths, base)
    qkv, x = model.image_encoder.blocks[1].attn.qkv, torch.randn(5, 32)
    for expert in EXPERTS:
        theirs = stage_1(expert, scale)
        a, b = (theirs[f"{ADAPTER.format(1)}experts.{expert}.linear_{half}_q.weight"] for half in "ab")
        change = (1 + scale if scale else 1) * x @ a.T @ b.T
        assert_close(qkv(x, expert)[:, :32], torch.nn.functional.linear(x, qkv.weight, qkv.bias)[:, :32] + change)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_fusion_that_does_not_exist_here_is_told(fusion: str, tmp_path: Path) -> None:
    path = write(tmp_path / "stage2.pth", stage_2(fusion), 2)
    message = refusal(lambda: read_published(path, encoder_size=SIZE))
    first = f"{ADAPTER.format(0)}{fusion}.low_level_fuser.query_norm.weight"
    assert f"(first '{first}'), which is not the paper's" in message
    assert "with --expert image, and train a fusion of them" in message


@pytest.mark.parametrize(("tensors", "expert", "sentence"), [
    ({key: value for key, value in stage_2("fuser").items() if "fuser" not in key}, None,
     "beside other tensors, first 'mask_decoder.iou_token.weight', but not what makes one of them"),
    (stage_1("image") | stage_1("pixel"), None, "has the experts image, pixel, and an expert is a file of its own"),
    (stage_1("image"), "patch", "has no expert 'patch'; choose from image"),
    ({"w_a_000": torch.ones(4, 32)}, "image", "has no experts of SAMora's released code, of which image could be one")])
def test_what_cannot_be_taken_is_told(tensors: Tensors, expert: str | None, sentence: str) -> None:
    assert sentence in refusal(lambda: scaled_expert(tensors, expert))


def test_other_systems_files_stay_as_they_are() -> None:
    tensors = {"w_a_000": torch.ones(4, 32)}
    assert scaled_expert(tensors, None) == tensors
    assert lacks_scales(stage_1("image"), "image") and not lacks_scales(stage_1("image", 1.0), "image")
    assert lacks_scales(stage_1("image", 1.0), "patch")


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("expert", EXPERTS)
def test_the_released_layout(fusion: str, expert: str) -> None:
    listed = {key.replace("{fuser|hl_attn}", fusion): torch.empty(shape, device="meta")
              for key, shape in key_shapes("samora_stage2_ckpt").items()}
    assert "which is not the paper's fusion" in refusal(lambda: scaled_expert(listed, None))
    source = recognise(scaled_expert(listed, expert))
    assert (source.key, source.variant.encoder, source.variant.rank) == ("samora", "vit_b", 4)
    assert source.variant.adapters == (expert,) and source.image_size == 224
