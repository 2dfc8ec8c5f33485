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


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the program says that does not take the arguments."""
    with pytest.raises(SystemExit) as stop:
        from_command_line(Recipe, ["--output", "o", *arguments])
    assert stop.value.code == 2
    return capsys.readouterr().err.rpartition("error: ")[2].strip()


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once somebody has imported ``trap``."""
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w').close()\nclass Trap: pass\n",
                                      encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "sprung"


@pytest.mark.parametrize("text", [
    "class_path: trap.Trap", "sugar: {class_path: trap.Trap}", "sugar: trap.Trap", "eggs: trap.Trap",
    "eggs: {class_path: trap.Trap}", "sugar: {grams: trap.Trap}", "sugar: {class_path: trap.Trap, init_args: {}}",
    "output: {class_path: trap.Trap}", "config: trap.Trap", "sugar: !!python/object:trap.Trap {}",
    "sugar: {grams: '!!python/object:trap.Trap {}'}",
])
def test_a_configuration_imports_nothing(tmp_path: Path, imported: Path, text: str,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    if "output" not in text:  # for a folder's name anything will do
        assert refused(["--config", str(tmp_path / "c.yaml")], capsys)
    else:
        from_command_line(Recipe, ["--config", str(tmp_path / "c.yaml")])
    assert not imported.exists()


@pytest.mark.parametrize("argument", ["--sugar=trap.Trap", "--sugar={class_path: trap.Trap}", "--sugar.help=trap.Trap",
                                      "--sugar.class_path=trap.Trap", "--eggs=trap.Trap"])
def test_nor_does_the_command_line_of_a_grid(imported: Path, argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([argument], capsys)
    assert not imported.exists()


@pytest.mark.parametrize("text", ["config: {secret}", "sugar: {secret}", "sugar: {{grams: {secret}}}", "eggs: {secret}",
                                  "class_path: {secret}", "$schema: {secret}", "__path__: {secret}"])
def test_a_file_that_a_configuration_names_is_not_opened(tmp_path: Path, text: str,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password: 'hunter2\n", encoding="utf-8")
    (tmp_path / "c.yaml").write_text(text.format(secret=secret), encoding="utf-8")
    assert "hunter2" not in refused(["--config", str(tmp_path / "c.yaml")], capsys)
    assert "hunter2" not in refused([f"--sugar={secret}"], capsys)
    assert "hunter2" not in refused([f"--config={secret}"], capsys)


@pytest.mark.parametrize(("text", "cause"), [
    ("", "it is empty instead of a table of fields"), ("[1]", "it is a list instead"), ("a", "it is 'a' instead"),
    ("3", "it is 3 instead"), ("sugar: 3", "sugar is 3 instead of a table of fields"),
    ("egs: 3", "it has the unknown field 'egs' (the known ones are output, eggs, sugar)"),
    ("sugar: {gram: 3}", "it has the unknown field 'sugar.gram' (the known ones are grams)"),
    ("eggs:", "its field 'eggs' has no value"), ("eggs: 1\neggs: 2", "it has 'eggs' twice"),
    ("sugar: {grams: .inf}", ".inf is not a finite number"), ("eggs: !!int 3", "it has the tag"),
    ("a: &a [x]\nb: &b [*a, *b]", "it has the alias 'b'"), ("- " * 99, "it is nested deeper than 32 levels"),
    ("eggs: [", "it is not YAML"), ("eggs: 3\n---\neggs: 4", "it holds a second document"),
])
def test_what_is_no_configuration_is_refused_in_a_sentence(tmp_path: Path, text: str, cause: str,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    said = refused(["--config", str(path)], capsys)
    assert said.startswith(f"The configuration '{path}' cannot be used, because {cause}")
    assert said.endswith("; correct it.") and "\n" not in said


def test_a_configuration_that_is_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused([f"--config={tmp_path}"], capsys) == (
        f"The configuration '{tmp_path}' cannot be used, because it is not a regular file; correct it.")
    assert refused([f"--config={tmp_path / 'none'}"], capsys).startswith("There is no configuration '")
    assert "expected one argument" in refused(["--config"], capsys)


@pytest.mark.parametrize(("arguments", "message"), [
    (["--eggs", "1e5"], "eggs"), (["--eggs", "[1]"], "eggs"), (["--eggs", "true"], "eggs"),
    (["--sugar.grams", "1e999"], "sugar.grams is inf, which is too large or no number; give another one."),
    (["--sugar.grams", ".inf"], "sugar.grams"), (["--eggs", "9" * 30], "eggs is 1e+30, which is too large"),
    (["--sugar", "3"], "--sugar cannot be used, because sugar is 3 instead of a table of fields; write single fields, "
                       "as --sugar.grams."),
])
def test_values_of_another_type_or_beyond_all_bounds(arguments: list[str], message: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refused(arguments, capsys)


def test_the_last_word_counts_among_files_parts_and_fields(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("eggs: 7\nsugar: {grams: 1.0e-2}\n", encoding="utf-8")
    said = from_command_line(Recipe, ["--output=o", "--eggs=1", f"--config={path}", "--sugar", "{grams: 8}"])
    assert said == Recipe(Path("o"), 7, Part(8.0))


def test_texts_are_taken_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("output: o\nmanifest: '-'\nbase: '--help'\nvariant: samed\nname: '{a: [*b'\nlicence: 2\n"
                    "experts: ['é, ü', b]\nclasses: {spleen: '1'}\nclass_weights: {a: 1e-3}\n", encoding="utf-8")
    said = from_command_line(Stage2, ["--config", str(path)])
    assert (said.manifest, said.base, said.name, said.licence) == (Path("-"), Path("--help"), "{a: [*b", "2")
    assert (said.experts, said.classes) == ((Path("é, ü"), Path("b")), {"spleen": "1"})
    assert said.class_weights == {"a": 0.001}


def test_control_c_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def train(_: Recipe) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as stop:
        command(train, Recipe, ["--output", "o"])
    assert stop.value.code == 130 and capsys.readouterr().err == "Stopped; the same command goes on from here.\n"


def test_a_file_that_is_named_in_short_is_not_left_unread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("eggs: 7\n", encoding="utf-8")
    assert "--config is to be written in full" in refused(["--output=o", f"--conf={tmp_path / 'c.yaml'}"], capsys)
