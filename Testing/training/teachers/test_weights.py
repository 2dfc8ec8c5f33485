"""Teacher files: ours come back as they were, published ones load, and others are refused by what differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import load_model
from SAMoraLib.cli import describe
from Testing.refusals import refusal
from Testing.training.teachers.simclr_reference import ReferenceHead, ReferenceResNet
from Training.teachers import weights
from Training.teachers.mae import from_published
from Training.teachers.simclr import TINY
from Training.teachers.weights import build_teacher, load_teacher, row_of, save_teacher

SIZE = 32


def written(path: Path, row: str) -> weights.Teacher:
    torch.manual_seed(0)
    teacher = build_teacher(row, SIZE)
    save_teacher(path, teacher, Card("teacher", row, None, SIZE))
    return teacher


def published_encoder(image_size: int) -> dict[str, torch.Tensor]:
    state = build_teacher("mae_tiny", image_size).state_dict()
    return {key.removeprefix("encoder."): value for key, value in state.items() if key.startswith("encoder.")}


@pytest.mark.parametrize("row", ["simclr_tiny", "mae_tiny"])
def test_our_file_comes_back_as_it_was(tmp_path: Path, row: str) -> None:
    path = tmp_path / "teacher.safetensors"
    saved = written(path, row).state_dict()
    assert row_of(str(path)) == row
    loaded = load_teacher(row, str(path), SIZE).state_dict()
    assert all(torch.equal(value, saved[key]) for key, value in loaded.items())


def test_its_card_says_that_it_is_no_sam(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    written(path, "mae_tiny")
    card = read_card(path)
    assert (card.kind, card.variant) == ("teacher", None)
    assert "mae_tiny" in describe(card)
    assert "kind 'teacher', which cannot segment by itself" in refusal(lambda: load_model(path))


def test_the_converters_nested_file_loads(tmp_path: Path) -> None:
    net, head = ReferenceResNet(TINY.layers, TINY.channels, TINY.stem), ReferenceHead(256)
    torch.save({"resnet": net.state_dict(), "head": head.state_dict()}, tmp_path / "r.pth")
    loaded = load_teacher("simclr_tiny", str(tmp_path / "r.pth"), SIZE)
    assert row_of(str(tmp_path / "r.pth")) is None
    assert torch.equal(loaded.state_dict()["head.6.weight"], head.layers[6].weight)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_maes_and_timms_files_load(tmp_path: Path, ending: str) -> None:
    encoder = published_encoder(48)
    path = tmp_path / f"mae{ending}"
    if ending == ".pth":
        torch.save({"model": encoder}, path)
    else:
        save_file(encoder, path)
    loaded = load_teacher("mae_tiny", str(path), SIZE).state_dict()  # another image size than the file's
    assert all(torch.equal(loaded[key], value) for key, value in from_published(encoder).items()
               if "pos_embed" not in key)


def test_timms_name_is_given_to_timm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    encoder = published_encoder(SIZE)
    monkeypatch.setattr(weights, "_from_timm", lambda name: asked.append(name) or encoder)
    load_teacher("mae_tiny", "timm:vit_small.mae", SIZE)
    assert asked == ["vit_small.mae"]


def test_a_name_that_timm_does_not_know_is_refused() -> None:
    message = refusal(lambda: load_teacher("mae_tiny", "timm:vit_gigantic", SIZE))
    assert "'vit_gigantic'" in message and "vit_large_patch16_224.mae" in message


def test_what_differs_is_named(tmp_path: Path) -> None:
    state = build_teacher("mae_tiny", SIZE).state_dict()
    del state["decoder_pred.bias"]
    state["encoder.cls_token"] = torch.zeros(1, 1, 7)
    state["encoder.odd"] = torch.zeros(1)
    save_file({key.removeprefix("encoder."): value for key, value in state.items()}, tmp_path / "m.safetensors")
    message = refusal(lambda: load_teacher("mae_tiny", str(tmp_path / "m.safetensors"), SIZE))
    assert "it lacks decoder_pred.bias, it has unknown encoder.odd" in message
    assert "encoder.cls_token (1, 1, 7) instead of (1, 1, 128)" in message


def test_another_network_is_refused_in_one_sentence(tmp_path: Path) -> None:
    written(tmp_path / "s.safetensors", "simclr_tiny")
    message = refusal(lambda: load_teacher("mae_tiny", str(tmp_path / "s.safetensors"), SIZE))
    assert "it lacks encoder.cls_token" in message and " more" in message and len(message) < 900


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no teacher .*docs/stage1\.md"):
        load_teacher("mae_tiny", str(tmp_path / "none.pth"), SIZE)
    (tmp_path / "cut.pth").write_bytes(b"PK\x03\x04cut")
    assert "cut short, damaged or carries code" in refusal(
        lambda: load_teacher("mae_tiny", str(tmp_path / "cut.pth"), SIZE))
    save_teacher(tmp_path / "e.safetensors", build_teacher("simclr_tiny", SIZE), Card("teacher", "vit", None, SIZE))
    assert "Unknown teacher 'vit'; choose from simclr_r50_2x_sk" in refusal(lambda: build_teacher("vit", SIZE))


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_teacher_that_is_not_finite_is_refused(ending: str, tmp_path: Path) -> None:
    path, state = tmp_path / f"mae{ending}", published_encoder(SIZE)
    key = next(iter(state))
    state[key] = state[key] * float("inf")
    save_file(state, path) if ending == ".safetensors" else torch.save({"model": state}, path)
    message = refusal(lambda: load_teacher("mae_tiny", str(path), SIZE))
    assert "that are NaN or infinite as float32, in 1 of its tensors, first" in message and key in message


def test_a_damaged_teacher_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mae.pth"
    torch.save({"model": published_encoder(SIZE)}, path)
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(255 - byte for byte in content[middle : middle + 64])
                     + content[middle + 64 :])
    assert "is damaged" in refusal(lambda: load_teacher("mae_tiny", str(path), SIZE))


def test_what_a_training_program_wraps_a_teacher_in_is_taken_off(tmp_path: Path) -> None:
    path, state = str(tmp_path / "mae.pth"), published_encoder(SIZE)
    optimiser = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}, "optimizer": optimiser}, path)
    loaded = load_teacher("mae_tiny", path, SIZE).state_dict()
    assert all(torch.equal(loaded[f"encoder.{key}"], value) for key, value in state.items())
    torch.save({"model": state, "model_ema": state}, path)
    assert f"'{path}' does not hold a flat table" in refusal(lambda: load_teacher("mae_tiny", path, SIZE))
