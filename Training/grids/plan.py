"""A grid file: which scripts run, one after another, for every combination of the axes' values.

    output: runs/grids/rank                        # every run gets a folder in it
    axes:                                          # axis -> value -> what {this} becomes in the steps
      rank: {rank1: {rank: 1}, rank4: {rank: 4}}
      seed: {seed1: {seed: 1}, seed2: {seed: 2}}
    steps:                                         # in order; {image} is the folder of that step's run
      image: {script: stage1_expert, config: expert.yaml, set: {level: image, rank: "{rank}"}}
      samed: {script: stage2_finetune, config: samed.yaml, set: {rank: "{rank}", optimisation.seed: "{seed}"}}
      test: {script: evaluate, set: {checkpoint: "{samed}/model.safetensors", output: "{samed}/test", ...}}
    rows: [samed]                                  # the steps whose runs the table compares
    baseline: samed_rank4                          # may be left out

A step runs once for each combination of the axes that it, or a step that it needs, makes use of: here two runs of
``image``, four of ``samed``. Runs are called STEP_VALUE_VALUE, e.g. samed_rank1_seed1.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SAMoraLib.system.streams import shortened
from Training.data.typed import fields, list_of, table_of
from Training.settings.untrusted_yaml import read_yaml

NAME = re.compile(r"\{(\w+)\}")
PART_OF_A_NAME = re.compile(r"\w[\w.+-]{0,59}")  # of runs, and so of folders
MAX_RUNS = 10_000

Values = dict[str, str]  # axis -> the name of its value


@dataclass(frozen=True)
class Step:
    """One script: its configuration file, and the fields that differ from it."""

    script: str
    config: str = ""
    set: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """What a grid file says, see above."""

    output: Path
    axes: Mapping[str, Mapping[str, Mapping[str, Any]]]
    steps: Mapping[str, Step]
    rows: Sequence[str]
    baseline: str = ""

    def __post_init__(self) -> None:
        for name in [*self.axes, *self.steps, *(value for values in self.axes.values() for value in values)]:
            if not PART_OF_A_NAME.fullmatch(name):
                raise ValueError(f"{name!r:.80} is no name of an axis, a value or a step; choose letters, digits and "
                                 "_, and after the first also .+-.")
        for axis, values in self.axes.items():
            variables = [set(said) for said in values.values()]
            if not variables or any(names != variables[0] for names in variables):
                raise ValueError(f"The axis '{axis}' needs values that all say the same; give each the same names.")
        names = [name for values in self.axes.values() for name in next(iter(values.values()))]
        for name in (name for name, times in Counter([*names, *self.steps]).items() if times > 1):
            raise ValueError(f"'{{{name}}}' means two things in the grid; rename one of them.")
        for row in self.rows:
            if row not in self.steps:
                raise ValueError(f"The row '{shortened(row)}' is no step; choose from {', '.join(self.steps)}.")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a step: ``script`` with ``arguments``, once the runs ``needs`` are finished."""

    name: str
    step: str
    folder: Path
    script: str
    arguments: tuple[str, ...]
    needs: tuple[str, ...]


def read_grid(path: Path) -> Grid:
    """Read a grid file; configurations are not opened.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a grid, or one that contradicts itself.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no grid '{path}'; Training/configs/grids holds some.")
    try:
        said = _typed(read_yaml(path))
    except ValueError as error:
        raise ValueError(f"'{path}' is no grid ({error}); Training/grids/plan.py shows what one says.") from error
    return Grid(**said)


def _typed(data: Any) -> dict[str, Any]:
    """The fields of a grid, each of its type."""
    said = fields(data, "it", {"output": str, "axes": dict, "steps": dict, "rows": list}, {"baseline": str})
    steps = {}
    for name, step in table_of(said["steps"], dict, "steps").items():
        steps[name] = Step(**fields(step, f"the step {name!r:.60}", {"script": str}, {"config": str, "set": dict}))
    axes = {axis: table_of(values, dict, f"the axis {axis!r:.60}")
            for axis, values in table_of(said["axes"], dict, "axes").items()}
    return said | {"output": Path(said["output"]), "steps": steps, "axes": axes,
                   "rows": list_of(said["rows"], str, "rows")}


def plan(grid: Grid) -> list[PlannedRun]:
    """Every run in an order in which each comes after those that it needs.

    Raises:
        ValueError: a name in braces that is neither a variable nor an earlier step, two runs of one name, or too many.
    """
    axes: dict[str, list[str]] = {}
    runs: list[PlannedRun] = []
    for name, step in grid.steps.items():
        axes[name] = _axes_of(grid, name, step, axes)
        if len(runs) + math.prod(len(grid.axes[axis]) for axis in axes[name]) > MAX_RUNS:
            raise ValueError(f"The grid plans more than {MAX_RUNS} runs; divide it into several.")
        choices = itertools.product(*(grid.axes[axis] for axis in axes[name]))
        runs += [_planned(grid, name, dict(zip(axes[name], choice, strict=True)), axes) for choice in choices]
    for name, times in Counter(run.name for run in runs).items():
        if times > 1:
            raise ValueError(f"Two runs of the grid would be called '{name}'; rename a step or a value.")
    return runs


def _axes_of(grid: Grid, name: str, step: Step, earlier: Mapping[str, Sequence[str]]) -> list[str]:
    """The axes that a step depends on, itself or through earlier steps, in the grid's order."""
    axis_of = {variable: axis for axis, values in grid.axes.items() for variable in next(iter(values.values()))}
    references = list(_names([step.config, step.set]))
    variables = [reference for reference in references if reference in axis_of]
    steps = [reference for reference in references if reference not in axis_of]
    for variable in variables:  # a value may name a step, too: the teacher that only some experts have
        for said in grid.axes[axis_of[variable]].values():
            steps += _names(said[variable])
    for reference in steps:
        if reference not in earlier:
            raise ValueError(f"The step '{name}' names {{{reference}}}, which is neither a variable of an axis nor an "
                             f"earlier step; choose from {', '.join([*axis_of, *earlier]) or 'none'}.")
    found = {axis_of[variable] for variable in variables}
    found.update(*(earlier[reference] for reference in steps))
    return [axis for axis in grid.axes if axis in found]


def _names(value: Any) -> Iterator[str]:
    """Every {name} in the strings of a YAML value."""
    if isinstance(value, str):
        yield from NAME.findall(value)
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _names(item)


def _planned(grid: Grid, name: str, chosen: Values, axes: Mapping[str, Sequence[str]]) -> PlannedRun:
    step = grid.steps[name]
    variables = {variable: value for axis in chosen for variable, value in grid.axes[axis][chosen[axis]].items()}
    needed: dict[str, None] = {}

    def meaning(reference: str) -> Any:
        if reference in variables:
            return _filled(variables[reference], meaning)
        needed[_run_name(reference, chosen, axes)] = None
        return str(grid.output / _run_name(reference, chosen, axes))

    fields = _filled(dict(step.set), meaning)
    folder = grid.output / _run_name(name, chosen, axes)
    fields.setdefault("output", str(folder))
    arguments = [f"--config={_filled(step.config, meaning)}"] if step.config else []
    arguments += [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in fields.items()]
    return PlannedRun(folder.name, name, folder, step.script, tuple(arguments), tuple(needed))


def _run_name(step: str, chosen: Values, axes: Mapping[str, Sequence[str]]) -> str:
    return "_".join([step, *(chosen[axis] for axis in axes[step])])


def _filled(value: Any, meaning: Callable[[str], Any]) -> Any:
    """``value`` with every {name} replaced; a string that is one {name} and nothing else becomes what it means."""
    if isinstance(value, dict):
        return {key: _filled(item, meaning) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, meaning) for item in value]
    if not isinstance(value, str):
        return value
    whole = NAME.fullmatch(value)
    return meaning(whole[1]) if whole else NAME.sub(lambda match: str(meaning(match[1])), value)
