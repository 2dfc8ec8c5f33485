"""Stage 1 with teachers at toy length: CPT, going on after an interruption, distilled experts, the probe."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.model import build_model
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.training.conftest import Cases
from Training.engine import loop
from Training.probe import main as probe
from Training.settings.command_line import from_command_line
from Training.settings.stages import Stage1Expert, Stage1Teacher
from Training.stage1_expert import train_expert
from Training.stage1_teacher import train_teacher

STEPS = ["--optimisation.steps", "4", "--optimisation.batch_size", "2", "--optimisation.accelerator", "cpu",
         "--optimisation.devices", "1", "--optimisation.threads", "1", "--optimisation.save_every", "2",
         "--optimisation.schedule.warmup", "1", "--optimisation.schedule.base_lr", "0.001"]
PREPROCESSING = ["--preprocessing.crop", "body", "--preprocessing.image_size", "32"]


@pytest.fixture
def data(tmp_path: Path, cases: Cases) -> list[str]:
    """What every run here shares: a small data set, its slices, its steps."""
    cases.add("a", 1)
    cases.add("b", 2)
    cases.manifest(tmp_path, train="a", test="b")
    return ["--manifest", str(tmp_path / "manifest.json"), "--cache", str(tmp_path / "cache"), *PREPROCESSING, *STEPS]


def teacher(folder: Path, data: list[str], row: str, *more: str) -> Path:
    train_teacher(from_command_line(Stage1Teacher, ["--output", str(folder), "--teacher", row, *data, *more]))
    return folder / "teacher.safetensors"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = build_model(get_variant("sam", "tiny"), 1, 32)
    save_model(tmp_path / "base.safetensors", model, Card("base", "b", model.variant, 32))
    return tmp_path / "base.safetensors"


@pytest.mark.parametrize("row", ["simclr_tiny", "mae_tiny"])
def test_a_killed_cpt_ends_at_the_same_weights_and_statistics(tmp_path: Path, data: list[str], row: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    optimiser = ["--optimisation.optimiser", "lars"] if row == "simclr_tiny" else []
    whole = load_file(teacher(tmp_path / "whole", data, row, *optimiser))
    kept = loop.lr_at

    def killed(step: int, *rest: object) -> float:
        if step == 3:
            raise KeyboardInterrupt
        return kept(step, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "lr_at", killed)
    with pytest.raises(KeyboardInterrupt):
        teacher(tmp_path / "cut", data, row, *optimiser)
    monkeypatch.setattr(loop, "lr_at", kept)
    resumed = load_file(teacher(tmp_path / "cut", data, row, *optimiser))
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, whole[key]) for key, value in resumed.items())


def test_cpt_goes_on_from_a_file_and_its_card_says_so(tmp_path: Path, data: list[str]) -> None:
    first = teacher(tmp_path / "first", data, "mae_tiny")
    second = teacher(tmp_path / "second", data, "mae_tiny", "--weights", str(first), "--optimisation.steps", "1",
                     "--optimisation.schedule.base_lr", "1e-12")
    card = read_card(second)
    assert (card.kind, card.name, card.variant) == ("teacher", "mae_tiny", None)
    assert [parent["name"] for parent in card.parents] == ["teacher.safetensors"]
    assert_close(load_file(second)["encoder.cls_token"], load_file(first)["encoder.cls_token"])


def test_experts_are_distilled_and_probed(tmp_path: Path, data: list[str], base: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    experts = []
    for level, row in (("image", "simclr_tiny"), ("patch", "mae_tiny")):
        source = teacher(tmp_path / row, data, row)
        output = tmp_path / level
        train_expert(from_command_line(Stage1Expert, [
            "--output", str(output), "--level", level, "--base", str(base), "--encoder", "tiny", "--supervision",
            "teacher", "--teacher", str(source), "--hidden", "16", *data]))
        card = read_card(output / "expert.safetensors")
        assert card.training["supervision"] == "teacher" and card.parents[0]["name"] == "teacher.safetensors"
        assert any(value.any() for key, value in load_file(output / "expert.safetensors").items() if key.endswith(".b"))
        experts.append(str(output / "expert.safetensors"))
    probe(["--manifest", str(tmp_path / "manifest.json"), "--base", str(base), "--experts", *experts, "--cache",
           str(tmp_path / "cache"), "--output", str(tmp_path / "probe.json"), "--fractions", "0.5", "1", "--seeds", "1",
           "2"])
    table = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert [row["expert"] for row in table] == ["none", "none", experts[0], experts[0], experts[1], experts[1]]
    assert all(0 < row["dice"] <= 1 for row in table)
    assert "none: fraction 0.5, Dice " in capsys.readouterr().out


def test_a_teacher_of_the_other_level_is_refused(tmp_path: Path, data: list[str], base: Path) -> None:
    source = teacher(tmp_path / "mae", data, "mae_tiny")
    config = from_command_line(Stage1Expert, [
        "--output", str(tmp_path / "image"), "--level", "image", "--base", str(base), "--encoder", "tiny",
        "--supervision", "teacher", "--teacher", str(source), *data])
    assert "cannot teach the image level; give SimCLR's file" in refusal(lambda: train_expert(config))
    assert not (tmp_path / "image").exists()


@pytest.mark.parametrize(("level", "file"), [("image", "r50_2x_sk1.pth"), ("patch", "mae_pretrain_vit_large.pth")])
def test_without_a_file_the_published_one_is_looked_for(tmp_path: Path, data: list[str], base: Path, level: str,
                                                        file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def stop(row: str, source: str, size: int) -> None:
        asked.append((row, source))
        raise InterruptedError

    monkeypatch.setattr("Training.stage1_expert.load_teacher", stop)
    config = from_command_line(Stage1Expert, [
        "--output", str(tmp_path / "e"), "--level", level, "--base", str(base), "--encoder", "tiny", "--supervision",
        "teacher", *data])
    with pytest.raises(InterruptedError):
        train_expert(config)
    row = {"image": "simclr_r50_2x_sk", "patch": "mae_vit_large"}[level]
    assert asked == [(row, f"weights/{file}")]
