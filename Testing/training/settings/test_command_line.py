"""Configurations from YAML and the command line, and how a program ends that refuses what it was told."""

from __future__ import annotations

import errno
import io
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from Training.settings.command_line import command, from_command_line
from Training.settings.stages import Stage2


@dataclass(frozen=True)
class Part:
    """A part of the recipe.

    Attributes:
        grams: of it.
    """

    grams: float = 5.0


@dataclass(frozen=True)
class Recipe:
    """Bake a cake in one step.

    Attributes:
        output: folder of the cake.
        eggs: how many.
        sugar: and how much of it.
    """

    output: Path
    eggs: int = 3
    sugar: Part = field(default_factory=Part)

    def __post_init__(self) -> None:
        if self.eggs < 1:
            raise ValueError(f"eggs is {self.eggs}; it must be at least 1.")


def test_defaults_are_taken_where_nothing_is_said() -> None:
    assert from_command_line(Recipe, ["--output", "o"]) == Recipe(Path("o"))


def test_a_field_of_a_part_leaves_its_other_fields_alone(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("output: a\neggs: 2\nsugar: {grams: 7}\n", encoding="utf-8")
    assert from_command_line(Recipe, ["--config", str(path)]) == Recipe(Path("a"), 2, Part(7.0))
    assert from_command_line(Recipe, ["--config", str(path), "--sugar.grams", "9"]) == Recipe(Path("a"), 2, Part(9.0))


def test_single_fields_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("output: a\nmanifest: m\nbase: b\nvariant: samed\noptimisation: {steps: 5, batch_size: 2}\n")
    config = from_command_line(Stage2, ["--config", str(path), "--optimisation.steps", "9", "--fraction", "0.1"])
    assert (config.optimisation.steps, config.optimisation.batch_size, config.fraction) == (9, 2, 0.1)


def test_help_begins_with_what_the_script_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        from_command_line(Recipe, ["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "Bake a cake in one step." in said and "Attributes:" not in said
    assert "how many." in said, "every field has its sentence"


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


def test_a_command_does_what_the_line_says() -> None:
    seen: list[Recipe] = []
    command(seen.append, Recipe, ["--output", "o", "--eggs", "4"])
    assert seen == [Recipe(Path("o"), 4)]


def test_a_refused_run_ends_with_its_sentence() -> None:
    def refuse(_: Stage2) -> None:
        raise FileNotFoundError("There is no manifest 'm'; run Training.prepare.")

    with pytest.raises(SystemExit, match="There is no manifest 'm'; run") as stop:
        command(refuse, Stage2, ["--output", "o", "--manifest", "m", "--base", "b", "--variant", "samed"])
    assert str(stop.value.code).endswith("prepare.")


def test_a_fault_of_the_program_itself_is_not_made_a_sentence() -> None:
    def fail(_: Recipe) -> None:
        raise KeyError("eggs")

    with pytest.raises(KeyError):
        command(fail, Recipe, ["--output", "o"])


def test_a_line_that_nobody_takes_does_not_end_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    class Left(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    steps: list[int] = []

    def train(recipe: Recipe) -> None:
        for step in range(recipe.eggs):
            print(f"step {step}")
            steps.append(step)

    monkeypatch.setattr("sys.stdout", Left())
    command(train, Recipe, ["--output", "o", "--eggs", "3"])
    assert steps == [0, 1, 2]
