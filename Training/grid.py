"""Ablations by one command: every run of a grid file, its evaluation, and one table.

    python -m Training.grid --grid Training/configs/grids/chaos_order.yaml
    python -m Training.grid --grid FILE.yaml --device-list 0,1,2,3     # one run per GPU
    python -m Training.grid --grid FILE.yaml --list                    # what would run

Give the same command again after an interruption, which ends the runs at work, too. A run that fails is reported and
the others go on; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import write_text
from Training.compare import compare
from Training.evaluate import parser as evaluate_parser
from Training.grids.plan import Grid, PlannedRun, plan, read_grid
from Training.grids.runs import Progress, execute, is_finished
from Training.reports.rows import read_rows
from Training.reports.tables import markdown
from Training.settings.command_line import from_command_line
from Training.settings.program import program
from Training.settings.stages import PretrainBase, ReferenceUNet, Stage1Expert, Stage1Teacher, Stage2
from Training.stage2_finetune import make_variant

Check = Callable[[Sequence[str]], Any]


def _check_stage2(arguments: Sequence[str]) -> None:
    make_variant(from_command_line(Stage2, arguments))


# What a step may run, and what reads its command line before anything starts.
SCRIPTS: dict[str, Check] = {
    "pretrain_base": partial(from_command_line, PretrainBase),
    "stage1_teacher": partial(from_command_line, Stage1Teacher),
    "stage1_expert": partial(from_command_line, Stage1Expert),
    "stage2_finetune": _check_stage2,
    "reference_unet": partial(from_command_line, ReferenceUNet),
    "evaluate": evaluate_parser().parse_args,
}


def check(run: PlannedRun) -> None:
    """Read a run's settings as the script itself will.

    Raises:
        ValueError: an unknown script, or a field or value that the script refuses.
    """
    if run.script not in SCRIPTS:
        raise ValueError(f"The step '{run.step}' has the unknown script '{run.script}'; choose from "
                         f"{', '.join(SCRIPTS)}.")
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            SCRIPTS[run.script](run.arguments)
    except ValueError as error:
        raise ValueError(f"The run '{run.name}' cannot start: {error}") from error
    except SystemExit as error:
        problem = " ".join(said.getvalue().rpartition("error: ")[2].split()).removesuffix(".")
        raise ValueError(f"The run '{run.name}' cannot start: {problem}.") from error


def write_table(grid: Grid, runs: Sequence[PlannedRun]) -> str:
    """Compare the rows' runs that have results, into ``table.md``; an empty string if there is none."""
    tested = [str(run.folder) for run in runs if run.step in grid.rows and (run.folder / "test/results.json").is_file()]
    if not tested:
        return ""
    rows = read_rows(tested)
    baseline = next((row for row in rows if row.name == grid.baseline), None)
    text = markdown(compare(rows, baseline=baseline))
    write_text(grid.output / "table.md", text + "\n")
    return text


def report(progress: Progress) -> None:
    """Say what failed and why."""
    for name, why in progress.failed.items():
        print(f"failed: {name}: {why}")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.grid", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--grid", type=Path, required=True, help="a YAML file, see Training/configs/grids")
    parser.add_argument("--jobs", type=int, help="runs at the same time (default: one, or one per device)")
    parser.add_argument("--device-list", default="", metavar="0,1", help="GPUs, by number; each run sees one")
    parser.add_argument("--list", action="store_true", help="print the runs and stop")
    return parser


def slots(jobs: int | None, device_list: str) -> list[str | None]:
    """The device of each run at the same time, None for no choice.

    Raises:
        ValueError: no jobs.
    """
    devices: list[str | None] = [name.strip() for name in device_list.split(",") if name.strip()] or [None]
    jobs = len(devices) if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"--jobs is {jobs}; it must be at least 1.")
    return [devices[number % len(devices)] for number in range(jobs)]


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    grid = read_grid(options.grid)
    runs, places = plan(grid), slots(options.jobs, options.device_list)
    for run in runs:
        check(run)
    if options.list:
        for run in runs:
            print(f"{'finished' if is_finished(run, grid.output) else 'to do':<9}{run.name}")
        return 0
    progress = execute(runs, grid.output, places)
    print(write_table(grid, runs))
    report(progress)
    return 1 if progress.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
