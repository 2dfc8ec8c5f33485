"""Expert files of ``SAMoraLib.checkpoint``: one of each level, into one model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from SAMoraLib.card import read_card
from SAMoraLib.checkpoint import load_experts, load_model, reference_to, save_expert, save_model, save_tensors
from SAMoraLib.model import build_model
from SAMoraLib.parts import expert_keys
from SAMoraLib.variants import EXPERTS, EncoderSize, get_variant
from SAMoraLib.weights.tensors import read_tensors
from Testing.refusals import refusal
from Testing.small import SIZE, randomise, small_card, small_model, small_variant, write_base


def write_expert(folder: Path, name: str, base: Path | None = None, size: EncoderSize = SIZE, rank: int = 4,
                 image_size: int = 32) -> Path:
    """What stage 1 leaves."""
    torch.manual_seed(EXPERTS.index(name))
    variant = get_variant("samed", name=f"expert_{name}", adapters=(name,), rank=rank, encoder_size=size)
    model = build_model(variant, 1, image_size)
    randomise(model, seed=EXPERTS.index(name))
    card = replace(small_card(variant, "expert", name), labels=None, base=reference_to(base) if base else None,
                   image_size=image_size)
    path = folder / f"{name}.safetensors"
    save_expert(path, model, name, card)
    return path


def test_experts_alone_do_not_segment(tmp_path: Path) -> None:
    path = write_expert(tmp_path, "image")
    assert "kind 'expert', which cannot segment by itself" in refusal(lambda: load_model(path))
    base = write_base(tmp_path / "base.safetensors")
    assert "kind 'base', which cannot segment by itself" in refusal(lambda: load_model(base))


def test_experts_are_put_where_they_belong(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.safetensors")
    model = build_model(small_variant("samora"), 4, 32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    paths = [write_expert(tmp_path, name, base) for name in EXPERTS]
    assert [card.name for card in load_experts(model, paths, base)] == list(EXPERTS)
    after = model.state_dict()
    for name, path in zip(EXPERTS, paths, strict=True):
        stored = read_tensors(path)
        assert set(stored) == set(expert_keys(model, name))
        assert all(torch.equal(after[key], value) for key, value in stored.items())
    assert all(torch.equal(after[key], before[key]) for key in after if ".lora." not in key)


def test_experts_of_another_base_are_refused(tmp_path: Path) -> None:
    base, other = write_base(tmp_path / "a.safetensors", 1), write_base(tmp_path / "b.safetensors", 2)
    model = build_model(small_variant("samora"), 4, 32)
    image, patch = write_expert(tmp_path, "image", base), write_expert(tmp_path, "patch", other)
    assert "trained on different base weights" in refusal(lambda: load_experts(model, [image, patch]))
    message = refusal(lambda: load_experts(model, [image], other))
    assert "The experts were trained on another base than" in message and "b.safetensors" in message


@pytest.mark.parametrize("change", [{"rank": 2}, {"size": replace(SIZE, depth=1, global_attn_indexes=(0,))},
                                    {"size": replace(SIZE, depth=3)}, {"size": replace(SIZE, embed_dim=64)}])
def test_experts_of_another_encoder_or_rank_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    model, path = build_model(small_variant("samora"), 4, 32), write_expert(tmp_path, "image", **change)
    assert "does not fit samora on vit_b at rank 4" in refusal(lambda: load_experts(model, [path]))


def test_experts_of_another_image_size_are_refused(tmp_path: Path) -> None:
    model, path = build_model(small_variant("samora"), 4, 32), write_expert(tmp_path, "image", image_size=48)
    message = refusal(lambda: load_experts(model, [path]))
    assert "was trained on slices of 48 x 48 pixels, this model takes 32 x 32; train it at the same size" in message


@pytest.mark.parametrize("kept", [4, 400, -200])
def test_a_damaged_expert_is_refused(tmp_path: Path, kept: int) -> None:
    model, path = build_model(small_variant("samora"), 4, 32), write_expert(tmp_path, "image")
    path.write_bytes(path.read_bytes()[:kept])
    message = refusal(lambda: load_experts(model, [path]))
    assert "image.safetensors" in message and message.endswith(("download or export it again.", "size."))


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda value: value * float("nan"), "values that are NaN or infinite as float32, in 1 of its tensors, first"),
    (lambda value: value.to(torch.complex64), "holds complex numbers (complex64) in"),
    (lambda value: value.to(torch.int32), "does not fit samora on vit_b")])
def test_an_expert_of_other_than_finite_numbers_is_refused(change: Any, sentence: str, tmp_path: Path) -> None:
    path = write_expert(tmp_path, "image")
    card, state = read_card(path), read_tensors(path)
    key = next(iter(state))
    save_tensors(path, state | {key: change(state[key])}, card)
    message = refusal(lambda: load_experts(build_model(small_variant("samora"), 4, 32), [path]))
    assert sentence in message and f"'{key}'" in message


def test_a_model_without_experts_refuses_them(tmp_path: Path) -> None:
    path = write_expert(tmp_path, "image")
    assert "does not fit samed" in refusal(lambda: load_experts(small_model("samed"), [path]))


def test_a_model_is_no_expert(tmp_path: Path) -> None:
    model, path = small_model("samed"), tmp_path / "model.safetensors"
    save_model(path, model, small_card(model.variant))
    assert "kind 'model', not an expert" in refusal(lambda: load_experts(small_model("samora"), [path]))
