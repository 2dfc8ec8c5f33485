"""Ablations by one command: what runs, in which order, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.folders import ROOT
from Training.grid import main
from Training.grids.plan import plan, read_grid

GRIDS = sorted((ROOT / "Training" / "configs" / "grids").glob("*.yaml"))
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


def test_a_step_runs_once_for_each_value_that_it_uses(tmp_path: Path) -> None:
    names = [run.name for run in plan(read_grid(write_grid(tmp_path)))]
    assert names == ["image_rank1", "image_rank4", "samed_rank1_seed1", "samed_rank1_seed2", "samed_rank4_seed1",
                     "samed_rank4_seed2"]


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_committed_grids_are_plans(path: Path) -> None:
    runs = plan(read_grid(path))
    assert len({run.name for run in runs}) == len(runs) > 1


def test_a_variant_that_does_not_exist_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--grid", str(write_grid(tmp_path, "samurai"))])
    assert "The run 'samed_rank1_seed1' cannot start: Unknown variant 'samurai'" in f"{stopped.value.code}"
    assert not (tmp_path / "runs").exists()


def test_the_runs_can_be_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--grid", str(write_grid(tmp_path)), "--list"])
    assert "samed_rank4_seed2" in capsys.readouterr().out and not (tmp_path / "runs").exists()
