"""Ablations by one command: what runs, in which order, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from Testing.refusals import refusal
from Testing.training.reports.result_files import result, write_results
from Training import grid as grid_command
from Training.grid import check, main, parser, slots, write_table
from Training.grids.plan import plan, read_grid
from Training.grids.runs import Progress

SMALL = """
output: {output}
axes:
  rank: {{rank1: {{rank: 1}}, rank4: {{rank: 4}}}}
  seed: {{seed1: {{seed: 1}}, seed2: {{seed: 2}}}}
steps:
  image:
    script: stage1_expert
    set: {{manifest: m.json, base: b.safetensors, level: image, rank: "{{rank}}"}}
  samed:
    script: stage2_finetune
    set: {{manifest: m.json, base: b.safetensors, variant: {variant}, rank: "{{rank}}", optimisation.seed: "{{seed}}"}}
rows: [samed]
"""


def write_grid(folder: Path, variant: str = "samed") -> Path:
    path = folder / "grid.yaml"
    path.write_text(SMALL.format(output=folder / "runs", variant=variant), encoding="utf-8")
    return path


def test_a_variant_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--grid", str(write_grid(tmp_path, "samurai"))])
    assert "The run 'samed_rank1_seed1' cannot start: Unknown variant 'samurai'" in f"{stopped.value.code}"
    assert not (tmp_path / "runs").exists()


def test_the_runs_can_be_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--grid", str(write_grid(tmp_path)), "--list"]) == 0
    assert "samed_rank4_seed2" in capsys.readouterr().out and not (tmp_path / "runs").exists()


def test_a_scripts_own_words_say_why_a_run_cannot_start(tmp_path: Path) -> None:
    path = write_grid(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("stage1_expert", "evaluate"), encoding="utf-8")
    [run, *_] = [run for run in plan(read_grid(path)) if run.step == "image"]
    said = refusal(lambda: check(run))
    assert said.startswith(f"The run '{run.name}' cannot start: the following arguments are required: ")
    assert said.count(f"{run.name}' cannot start") == 1 and "usage:" not in said


@pytest.mark.parametrize(("failed", "status"), [({}, 0), ({"samed_rank1_seed2": "out of memory"}, 1)])
def test_a_failed_run_is_told_and_fails_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                    monkeypatch: pytest.MonkeyPatch, failed: dict[str, str],
                                                    status: int) -> None:
    monkeypatch.setattr(grid_command, "execute", lambda *_: Progress(["image_rank1"], failed))
    assert main(["--grid", str(write_grid(tmp_path))]) == status
    said = capsys.readouterr().out.split("\n")
    assert [line for line in said if line] == [f"failed: {name}: {why}" for name, why in failed.items()]


def test_a_list_says_what_has_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_command, "execute", lambda *_: pytest.fail("nothing is to run"))
    monkeypatch.setattr(grid_command, "is_finished", lambda run, _: run.name == "image_rank4")
    assert main(["--grid", str(write_grid(tmp_path)), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4 and "finished image_rank4" in lines and "to do    image_rank1" in lines


@pytest.mark.parametrize(("jobs", "devices", "expected"), [
    (None, "", [None]), (3, "", [None] * 3), (None, "0, 3,", ["0", "3"]), (3, "0,3", ["0", "3", "0"]),
    (1, "2,5", ["2"]),
])
def test_runs_at_the_same_time_share_the_devices(jobs: int | None, devices: str, expected: list[str | None]) -> None:
    assert slots(jobs, devices) == expected


def test_no_runs_at_the_same_time_are_refused() -> None:
    assert refusal(lambda: slots(0, "0,1")) == "--jobs is 0; it must be at least 1."


def test_the_table_compares_the_rows_runs_that_have_results(tmp_path: Path) -> None:
    grid = read_grid(write_grid(tmp_path))
    runs = plan(grid)
    assert write_table(grid, runs) == "" and not (grid.output / "table.md").exists()
    for name, dice in (("samed_rank1_seed1", 0.5), ("samed_rank1_seed2", 0.7), ("image_rank1", 0.9)):
        write_results(grid.output / name, result("x", (dice, dice)))
    text = write_table(grid, runs)
    assert (grid.output / "table.md").read_text(encoding="utf-8") == text + "\n"
    assert "| samed_rank1 | 2 | 0.600 |" in text and "image" not in text and "95 % CI" not in text
    write_results(grid.output / "samed_rank4_seed1", result("x", (0.8, 0.8)))
    assert "Dice over samed_rank4" in write_table(replace(grid, baseline="samed_rank4"), runs)


def test_help_begins_with_what_the_command_does() -> None:
    assert parser().description == (grid_command.__doc__ or "").splitlines()[0]
