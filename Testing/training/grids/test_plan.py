"""A grid file becomes runs: which, in which order, with which arguments; and what contradicts itself is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from Testing.folders import ROOT
from Testing.refusals import refusal
from Training.grids.plan import Grid, PlannedRun, Step, plan, read_grid

GRIDS = sorted((ROOT / "Training" / "configs" / "grids").glob("*.yaml"))
AXES = {"rank": {"rank1": {"rank": 1}, "rank4": {"rank": 4}}, "seed": {"seed1": {"seed": 1}, "seed2": {"seed": 2}}}


def grid(axes: dict[str, Any] | None = None, **steps: Step) -> Grid:
    return Grid(Path("runs"), AXES if axes is None else axes, steps, ())


def names(*runs: PlannedRun) -> list[str]:
    return [run.name for run in runs]


def test_a_step_runs_once_for_each_value_that_it_uses() -> None:
    runs = plan(grid(image=Step("stage1", set={"rank": "{rank}"}), fixed=Step("stage1"),
                     samed=Step("stage2", set={"a": {"b": ["{seed}"]}, "rank": "{rank}"})))
    assert names(*runs) == ["image_rank1", "image_rank4", "fixed", "samed_rank1_seed1", "samed_rank1_seed2",
                            "samed_rank4_seed1", "samed_rank4_seed2"]
    assert all(run.folder == Path("runs", run.name) for run in runs)
    assert [run.step for run in runs] == ["image"] * 2 + ["fixed"] + ["samed"] * 4
    assert {run.script for run in runs} == {"stage1", "stage2"}


def test_what_a_step_needs_lies_where_its_run_wrote_it() -> None:
    runs = plan(grid(image=Step("stage1", set={"rank": "{rank}"}),
                     row=Step("stage2", set={"experts": ["{image}/a.safetensors"], "seed": "{seed}"}),
                     test=Step("evaluate", set={"checkpoint": "{row}/m", "other": "{image}", "output": "{row}/test"})))
    last = runs[-1]
    assert last.name == "test_rank4_seed2" and last.needs == ("row_rank4_seed2", "image_rank4")
    assert last.folder == Path("runs/test_rank4_seed2")
    assert last.arguments == ("--checkpoint=runs/row_rank4_seed2/m", "--other=runs/image_rank4",
                              "--output=runs/row_rank4_seed2/test")
    assert runs[2].needs == ("image_rank1",) and runs[0].needs == ()
    assert runs[2].arguments == ('--experts=["runs/image_rank1/a.safetensors"]', "--seed=1",
                                 "--output=runs/row_rank1_seed1")


def test_arguments_are_json_unless_they_are_text() -> None:
    values = {"text": "a b", "number": 0.5, "flag": True, "none": None, "list": [1, "{rank}"], "made": "r{rank}-{seed}",
              "table": {"k": "{rank}"}}
    run = plan(grid(step=Step("work", "c_{rank}.yaml", values)))[-1]
    assert run.arguments == ("--config=c_4.yaml", "--text=a b", "--number=0.5", "--flag=true", "--none=null",
                             "--list=[1, 4]", "--made=r4-2", '--table={"k": 4}', "--output=runs/step_rank4_seed2")


def test_a_value_may_name_a_step() -> None:
    """The teacher that only one of two experts has: both wait for it, the axis of the value alone tells them apart."""
    axes = {"kind": {"with": {"teacher": "{mae}/t"}, "without": {"teacher": ""}}, "seed": AXES["seed"]}
    runs = plan(grid(axes, mae=Step("teach", set={"seed": "{seed}"}), row=Step("train", set={"teacher": "{teacher}"})))
    assert names(*runs) == ["mae_seed1", "mae_seed2", "row_with_seed1", "row_with_seed2", "row_without_seed1",
                            "row_without_seed2"]
    assert runs[2].needs == ("mae_seed1",) and runs[4].needs == ()
    assert runs[3].arguments[0] == "--teacher=runs/mae_seed2/t" and runs[5].arguments[0] == "--teacher="


def test_axes_stand_in_the_grids_order_not_in_the_steps() -> None:
    runs = plan(grid(step=Step("work", set={"s": "{seed}", "r": "{rank}"})))
    assert names(*runs)[1] == "step_rank1_seed2"


@pytest.mark.parametrize(("steps", "said"), [
    ({"row": Step("work", set={"x": "{image}"}), "image": Step("work")}, "rank, seed."),
    ({"image": Step("work"), "row": Step("work", "{imag}.yaml")}, "rank, seed, image."),
])
def test_a_name_without_a_meaning_is_refused(steps: dict[str, Step], said: str) -> None:
    message = refusal(lambda: plan(grid(**steps)))
    assert message.startswith("The step 'row' names {imag") and message.endswith(f"choose from {said}")


def test_without_any_name_there_is_none_to_choose() -> None:
    assert refusal(lambda: plan(grid({}, row=Step("work", set={"x": "{y}"})))).endswith("choose from none.")


@pytest.mark.parametrize("values", [{}, {"a": {"x": 1}, "b": {"y": 1}}, {"a": {"x": 1}, "b": {"x": 1, "y": 2}}])
def test_an_axis_says_the_same_of_every_value(values: dict[str, Any]) -> None:
    assert refusal(lambda: grid({"kind": values})).startswith("The axis 'kind' needs values that all say the same;")


@pytest.mark.parametrize("axes", [
    {"one": {"a": {"row": 1}}}, {"one": {"a": {"x": 1}}, "two": {"b": {"x": 1}}},
])
def test_a_name_means_one_thing(axes: dict[str, Any]) -> None:
    assert "means two things in the grid; rename one" in refusal(lambda: grid(axes, row=Step("work")))


def test_the_rows_are_steps() -> None:
    said = refusal(lambda: Grid(Path("runs"), {}, {"a": Step("work"), "b": Step("work")}, ("a", "c")))
    assert said == "The row 'c' is no step; choose from a, b."


def test_a_file_says_all_of_a_grid(tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text(
        "output: runs/x\naxes: {seed: {seed1: {seed: 1}}}\n"
        "steps: {samed: {script: stage2, config: c.yaml, set: {seed: '{seed}'}}}\nrows: [samed]\nbaseline: samed\n",
        encoding="utf-8")
    assert read_grid(tmp_path / "grid.yaml") == Grid(
        Path("runs/x"), {"seed": {"seed1": {"seed": 1}}}, {"samed": Step("stage2", "c.yaml", {"seed": "{seed}"})},
        ["samed"], "samed")


@pytest.mark.parametrize("text", [
    "", "[1, 2]", "output: [", "output: runs\naxes: {}\nrows: []\n", "axes: {}\nsteps: {}\nrows: []\n",
    "output: r\naxes: {}\nsteps: {a: {scrip: x}}\nrows: []\n", "output: r\naxes: {}\nsteps: {}\nrows: []\nmore: 1\n",
])
def test_a_file_that_is_no_grid_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
    assert "grid.yaml' is no grid (" in refusal(lambda: read_grid(tmp_path / "grid.yaml"))


def test_a_grid_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no grid '.*none\.yaml'; Training/configs/grids"):
        read_grid(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_committed_grids_are_plans(path: Path) -> None:
    runs = plan(read_grid(path))
    assert len({run.name for run in runs}) == len(runs) > 1
    before: set[str] = set()
    for run in runs:
        assert set(run.needs) <= before, "each comes after what it needs"
        before.add(run.name)
        assert (ROOT / "Training" / f"{run.script}.py").is_file()


WHOLE = {"output": "r", "axes": {"seed": {"one": {"seed": 1}}}, "steps": {"a": {"script": "x"}}, "rows": ["a"]}


@pytest.mark.parametrize(("change", "cause"), [
    ({"output": 3}, "output of it is 3 instead of text"), ({"output": None}, "output of it is null"),
    ({"axes": [1]}, "axes of it is a list instead of a table"), ({"axes": {"seed": 3}}, "axes's 'seed' is 3"),
    ({"axes": {"seed": {"one": [1]}}}, "the axis 'seed''s 'one' is a list instead of a table"),
    ({"steps": {"a": "x"}}, "steps's 'a' is 'x' instead of a table"),
    ({"steps": {"a": {}}}, "the step 'a' lacks script"),
    ({"steps": {"a": {"script": 3}}}, "script of the step 'a' is 3"),
    ({"steps": {"a": {"script": "x", "set": "y"}}}, "set of the step 'a' is 'y' instead of a table"),
    ({"steps": {"a": {"script": "x", "config": ["y"]}}}, "config of the step 'a' is a list"),
    ({"rows": "a"}, "rows of it is 'a' instead of a list"), ({"rows": [1]}, "item 0 of rows is 1 instead of text"),
    ({"baseline": 3}, "baseline of it is 3"), ({"more": 3}, "it has the unknown field 'more'"),
])
def test_wrong_types_are_refused_in_a_sentence(tmp_path: Path, change: dict[str, Any], cause: str) -> None:
    (tmp_path / "grid.yaml").write_text(json.dumps(WHOLE | change), encoding="utf-8")
    assert f"grid.yaml' is no grid ({cause}" in refusal(lambda: read_grid(tmp_path / "grid.yaml"))


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system [x]", "a: &a [*a]", "[" * 99, "a: 1\na: 2"])
def test_a_grid_is_data(tmp_path: Path, text: str) -> None:
    (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
    assert "grid.yaml' is no grid (it " in refusal(lambda: read_grid(tmp_path / "grid.yaml"))


@pytest.mark.parametrize("name", ["../../evil", "a/b", "..", "", "a b", ".hidden", "a\nb", "x" * 61])
def test_names_lead_nowhere_else(name: str) -> None:
    steps, axes = {"a": Step("x")}, {"seed": {"one": {"seed": 1}}}
    for said in ({"steps": {name: Step("x")}, "axes": axes}, {"steps": steps, "axes": {name: axes["seed"]}},
                 {"steps": steps, "axes": {"seed": {name: {"seed": 1}}}}):
        assert "is no name of an axis, a value or a step" in refusal(lambda said=said: Grid(Path("r"), rows=[], **said))


def test_runs_have_names_of_their_own_and_are_not_without_end() -> None:
    axes = {"one": {"b_c": {"x": 1}}, "two": {"c": {"y": 1}}}
    steps = {"a": Step("s", set={"x": "{x}"}), "a_b": Step("s", set={"y": "{y}"})}
    assert "Two runs of the grid would be called 'a_b_c'" in refusal(lambda: plan(Grid(Path("r"), axes, steps, [])))
    many = {f"axis{n}": {f"v{m}": {f"x{n}": m} for m in range(10)} for n in range(9)}
    step = Step("s", set={"all": [f"{{x{n}}}" for n in range(9)]})
    assert "more than 10000 runs" in refusal(lambda: plan(Grid(Path("r"), many, {"a": step}, [])))
