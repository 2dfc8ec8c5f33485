"""Configurations: the committed files load, and mistakes are named before anything heavy starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from Testing.folders import ROOT
from Training.settings.command_line import command, from_command_line
from Training.settings.optimisation import Optimisation
from Training.settings.stages import PretrainBase, ReferenceUNet, Stage1Expert, Stage1Teacher, Stage2

CONFIGS = ROOT / "Training" / "configs"
KINDS = {"tiny_base": PretrainBase, "base": PretrainBase, "base_2": PretrainBase, "expert": Stage1Expert,
         "expert_2": Stage1Expert, "unet": ReferenceUNet,
         "expert_distilled": Stage1Expert, "teacher_simclr": Stage1Teacher, "teacher_mae": Stage1Teacher,
         "stage1_simclr": Stage1Teacher, "stage1_mae": Stage1Teacher, "stage1_image": Stage1Expert,
         "stage1_patch": Stage1Expert, "stage1_pixel": Stage1Expert}


COMMITTED = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "grids")  # see test_grid


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_committed_configurations_load(path: Path) -> None:
    kind = KINDS.get(path.stem.split("-")[0], Stage2)
    config = from_command_line(kind, ["--config", str(path)])
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert config.optimisation.steps == written["optimisation"]["steps"]
    assert str(config.output) == written["output"]
    if "preprocessing" in written:
        assert config.preprocessing.crop == written["preprocessing"]["crop"]


def test_single_fields_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("output: a\nmanifest: m\nbase: b\nvariant: samed\noptimisation: {steps: 5, batch_size: 2}\n")
    config = from_command_line(Stage2, ["--config", str(path), "--optimisation.steps", "9", "--fraction", "0.1"])
    assert (config.optimisation.steps, config.optimisation.batch_size, config.fraction) == (9, 2, 0.1)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--fraction", "0"], "fraction is 0"),
    (["--loss_resolution", "middle"], "middle"),
    (["--stepz", "3"], "stepz"),
    (["--optimisation.steps", "0"], "steps"),
])
def test_mistakes_end_with_exit_code_2_and_the_field(arguments: list[str], message: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    required = ["--output", "o", "--manifest", "m", "--base", "b", "--variant", "samed"]
    with pytest.raises(SystemExit) as stop:
        from_command_line(Stage2, required + arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_test_cases_are_refused_in_stage_1() -> None:
    with pytest.raises(ValueError, match="test cases must not be seen"):
        Stage1Expert(Path("o"), Path("m"), Path("b"), "image", splits=("train", "test"))


@pytest.mark.parametrize(("fields", "message"), [
    ({"supervision": "student"}, "Unknown supervision 'student'; choose from scratch, teacher"),
    ({"level": "pixel", "supervision": "teacher"}, "pixel level has no teacher"),
    ({"dice_weight": 1.5}, "dice_weight is 1.5"),
])
def test_impossible_experts_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Stage1Expert(Path("o"), Path("m"), Path("b"), **({"level": "image"} | fields))


def test_teachers_too_do_not_see_test_cases() -> None:
    with pytest.raises(ValueError, match="test cases must not be seen"):
        Stage1Teacher(Path("o"), Path("m"), "mae_tiny", splits=("test",))


@pytest.mark.parametrize(("fields", "message"), [
    ({"batch_size": 0}, "batch_size is 0"), ({"nodes": 0}, "nodes is 0"), ({"accumulate": 0}, "accumulate is 0"),
    ({"strategy": "ddp2"}, "Unknown strategy 'ddp2'; choose from auto, fsdp"),
])
def test_impossible_optimisation_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimisation(**fields)


def test_a_refused_run_ends_with_its_sentence() -> None:
    def refuse(_: Stage2) -> None:
        raise FileNotFoundError("There is no manifest 'm'; run Training.prepare.")

    with pytest.raises(SystemExit, match="There is no manifest 'm'; run") as stop:
        command(refuse, Stage2, ["--output", "o", "--manifest", "m", "--base", "b", "--variant", "samed"])
    assert str(stop.value.code).endswith("prepare.")
