"""The papers' configurations add up: epochs, steps, slices, and the rates at start, middle and end."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.folders import ROOT
from Training.grids.plan import plan, read_grid
from Training.settings.command_line import from_command_line
from Training.settings.schedule import lr_at
from Training.settings.stages import Stage1Expert, Stage1Teacher, Stage2

CONFIGS = ROOT / "Training" / "configs"
SYNAPSE, FEW, UNLABELLED = 2211, 221, 100_000  # slices


def stage2(name: str, *options: str) -> Stage2:
    return from_command_line(Stage2, ["--config", str(CONFIGS / "paper" / f"{name}.yaml"), *options])


def stage1(kind: type, name: str) -> Stage1Expert | Stage1Teacher:
    return from_command_line(kind, ["--config", str(CONFIGS / "paper" / f"stage1_{name}.yaml")])


def steps_of(epochs: int, slices: int, batch: int) -> int:
    """The last batch of an epoch may be short."""
    return epochs * -(-slices // batch)


def few_shot_options(name: str) -> list[str]:
    """As the head of the file says them."""
    head = (CONFIGS / "paper" / f"{name}.yaml").read_text(encoding="utf-8").partition("output:")[0].replace("\n#", "")
    return head.partition("Few-shot, 10 %")[2].partition(": ")[2].partition(" (")[0].split()


@pytest.mark.parametrize(("name", "epochs", "few_shot"), [
    ("samora", 20, 140), ("samora_2", 25, 175), ("h_samora", 30, 210)])
def test_table_8_in_full_and_with_a_tenth_of_the_slices(name: str, epochs: int, few_shot: int) -> None:
    config = stage2(name)
    assert config.optimisation.batch_size == 32
    assert config.optimisation.steps == steps_of(epochs, SYNAPSE, 32)
    few = stage2(name, *few_shot_options(name))
    assert few.fraction == 0.1 and few.optimisation.steps == few_shot == steps_of(epochs, FEW, 32)


@pytest.mark.parametrize("name", ["samed", "samed_2"])
def test_sameds_schedule_is_made_for_200_epochs_and_stopped_after_160(name: str) -> None:
    config, few = stage2(name).optimisation, stage2(name, *few_shot_options(name)).optimisation
    assert config.batch_size == few.batch_size == 24
    assert [config.steps, config.schedule.total] == [steps_of(epochs, SYNAPSE, 24) for epochs in (160, 200)]
    assert [few.steps, few.schedule.total] == [steps_of(epochs, FEW, 24) for epochs in (160, 200)]


def test_h_sams_few_shot_has_300_epochs() -> None:
    config = stage2("h_sam")
    assert config.fraction == 0.1 and config.optimisation.steps == steps_of(300, FEW, config.optimisation.batch_size)


@pytest.mark.parametrize(("name", "steps", "rates"), [
    # supplement, eq. 1: I T / WP, then I (1 - (T - WP) / MI); I 0.005 or 0.0025, WP 25
    ("samora", 1400, {5: 0.001, 25: 0.005, 725: 0.0025, 1399: 0.005 * 26 / 1400}),
    ("samora", 140, {5: 0.001, 25: 0.005, 95: 0.0025, 139: 0.005 * 26 / 140}),
    ("samora_2", 1750, {5: 0.001, 25: 0.005, 900: 0.0025, 1749: 0.005 * 26 / 1750}),
    ("samora_2", 175, {5: 0.001, 25: 0.005, 100: 0.005 * 100 / 175, 174: 0.005 * 26 / 175}),
    ("h_samora", 2100, {5: 0.0005, 25: 0.0025, 1075: 0.00125, 2099: 0.0025 * 26 / 2100}),
    ("h_samora", 210, {5: 0.0005, 25: 0.0025, 130: 0.00125, 209: 0.0025 * 26 / 210}),
    ("samed", 14880, {125: 0.0025, 251: 0.005, 9551: 0.005 * 0.5**0.9, 14879: 0.005 * (1 - 14628 / 18600)**0.9}),
])
def test_the_rates_at_start_middle_and_end(name: str, steps: int, rates: dict[int, float]) -> None:
    schedule = stage2(name).optimisation.schedule
    assert {step: lr_at(step, steps, schedule) for step in rates} == pytest.approx(rates)


@pytest.mark.parametrize(("kind", "name", "epochs"), [
    (Stage1Teacher, "simclr", 80), (Stage1Teacher, "mae", 60),
    (Stage1Expert, "image", 30), (Stage1Expert, "patch", 30), (Stage1Expert, "pixel", 30)])
def test_table_7(kind: type, name: str, epochs: int) -> None:
    """Epochs without a boundary: batches go on from one to the next. 5 % of them warm up."""
    config = stage1(kind, name)
    assert config.optimisation.batch_size == 512
    assert config.optimisation.steps == round(epochs * UNLABELLED / 512)
    assert config.optimisation.schedule.warmup == round(0.05 * config.optimisation.steps)
    assert (config.preprocessing.low, config.preprocessing.high) == (-200, 400), "Fed-MENU's window, section 4.1"


def test_a3s_flips_come_beside_rotation_and_scaling() -> None:
    for name in ("samora", "samora_2"):
        policy = stage2(name).augment
        assert (policy.flip, policy.turn_and_flip, policy.affine) == (0.5, 0, 1)
        assert (policy.rotation, policy.scale) == (15, (0.9, 1.1))


@pytest.mark.parametrize("path", sorted((CONFIGS / "grids").glob("synapse_*.yaml")), ids=lambda path: path.stem)
def test_the_grids_have_a_tenth_of_the_epochs_steps(path: Path) -> None:
    few = {"samora": 140, "h_samora": 210, "samed": 1600}
    runs = [run for run in plan(read_grid(path)) if run.step in few]
    assert runs
    for run in runs:
        config = from_command_line(Stage2, list(run.arguments))
        assert config.fraction == 0.1 and config.optimisation.steps == few[run.step], run.name
