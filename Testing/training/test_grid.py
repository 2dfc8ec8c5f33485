"""Ablations by one command: what runs, in which order, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from Training.grid import main

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
    main(["--grid", str(write_grid(tmp_path)), "--list"])
    assert "samed_rank4_seed2" in capsys.readouterr().out and not (tmp_path / "runs").exists()
