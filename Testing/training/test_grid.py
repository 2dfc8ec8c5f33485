"""Ablations by one command: what runs, in which order, and what is refused before anything starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from Testing.refusals import refusal
from Testing.training.reports.result_files import result, write_results
from Training import grid as grid_command
from Training.grid import main, parser, slots, write_table
from Training.grids.plan import plan, read_grid

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
