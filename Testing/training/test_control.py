"""The positive control: its data, what runs, and what is gained over the decoder alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.labels import LABEL_SETS
from Testing.training.reports.result_files import result, write_results
from Training import control
from Training.grids.plan import PlannedRun, plan, read_grid
from Training.grids.runs import Progress
from Training.reports.rows import read_rows
from Training.settings.command_line import from_command_line
from Training.settings.stages import PretrainBase, Stage1Expert, Stage2

GRIDS = ["control_small", "control"]


def settings(run: PlannedRun) -> Any:
    kinds: dict[str, type] = {"pretrain_base": PretrainBase, "stage1_expert": Stage1Expert, "stage2_finetune": Stage2}
    return from_command_line(kinds[run.script], list(run.arguments))


@pytest.mark.parametrize("name", GRIDS)
def test_the_experts_know_each_other_organs_and_the_base_none(name: str) -> None:
    runs = plan(read_grid(control.GRIDS / f"{name}.yaml"))
    base, *experts = [settings(run) for run in runs if run.script in ("pretrain_base", "stage1_expert")]
    taught = Counter(organ for expert in experts for organ in expert.organs)
    assert taught == Counter(LABEL_SETS["synapse"].names) and set(base.untold) == set(taught)
    assert all(expert.manifest.parent.name == "experts" for expert in experts)
    assert [(expert.level, expert.supervision) for expert in experts] == [
        ("image", "labels"), ("patch", "labels"), ("pixel", "labels")]


@pytest.mark.parametrize("name", GRIDS)
def test_the_decoder_alone_has_the_fusions_slices_steps_and_start(name: str) -> None:
    tuned = {run.name: settings(run) for run in plan(read_grid(control.GRIDS / f"{name}.yaml"))
             if run.script == "stage2_finetune"}
    for run, config in tuned.items():
        alone = tuned[f"decoder_{run.rpartition('_')[2]}"]
        assert config.manifest == alone.manifest and config.manifest.parent.name == "few"
        assert (config.fraction, config.few_shot_seed, config.optimisation, config.augment, config.preprocessing) == (
            0.1, alone.few_shot_seed, alone.optimisation, alone.augment, alone.preprocessing)
    assert tuned["decoder_seed1"].trained == ("transformer", "decoder") and not tuned["decoder_seed1"].experts
    assert tuned["decoder_seed1"].few_shot_seed != tuned["decoder_seed2"].few_shot_seed


def test_gains_are_paired_by_case(tmp_path: Path) -> None:
    grid = read_grid(control.GRIDS / "control_small.yaml")
    for name, dice in {"decoder_seed1": (0.5, 0.6, 0.4), "decoder_seed2": (0.5, 0.6, 0.6),
                       "samora_full_seed1": (0.6, 0.7, 0.7), "samora_full_seed2": (0.6, 0.9, 0.7)}.items():
        write_results(tmp_path / name, *(result(str(case), (value, value)) for case, value in enumerate(dice)))
    rows = read_rows([str(path) for path in sorted(tmp_path.iterdir())])
    found = control.gains(grid, rows)
    assert found["decoder"] == {"dice": pytest.approx(0.5333, abs=1e-3), "seeds": 2}
    assert found["samora_full"]["gain"] == pytest.approx(np.mean([0.1, 0.2, 0.2]))
    assert found["samora_full"]["low"] < 0.1667 < found["samora_full"]["high"]
    assert (found["samora_full"]["cases"], found["samora_full"]["seeds"]) == (3, 2)


def test_phantoms_and_their_manifest_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(control, "make_phantoms", lambda folder, seeds, workers: calls.append((folder, seeds)))
    monkeypatch.setattr(control.prepare, "main", calls.append)
    control.make_data(tmp_path, 50, 5, ["0.6", "0", "0.4"])
    assert calls[0] == (tmp_path / "phantoms", range(50, 55))
    assert calls[1][:4] == ["--input", str(tmp_path / "phantoms"), "--output", str(tmp_path)]
    assert calls[1][-3:] == ["0.6", "0", "0.4"]
    (tmp_path / "manifest.json").touch()
    control.make_data(tmp_path, 50, 5, ["0.6", "0", "0.4"])
    assert len(calls) == 3


@pytest.mark.parametrize(("options", "full"), [(["--json"], False), (["--full", "--jobs", "3"], True)])
def test_the_command_runs_the_grid_and_tells_the_gains(options: Sequence[str], full: bool, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    ran: list[tuple[int, int]] = []

    def execute(runs: Sequence[PlannedRun], output: Path, places: Sequence[str | None]) -> Progress:
        ran.append((len(runs), len(places)))
        for run in runs:
            if run.script == "stage2_finetune":
                write_results(tmp_path / run.folder, result("a", (0.5, 0.6)), result("b", (0.6, 0.8)))
        return Progress([run.name for run in runs])

    monkeypatch.setattr(control, "execute", execute)
    made: list[tuple[str, int]] = []
    monkeypatch.setattr(control, "make_data", lambda folder, first, count, shares: made.append((folder.name, first)))
    monkeypatch.setattr(control, "check", lambda run: None)  # as the grids' own test does
    monkeypatch.chdir(tmp_path)
    assert control.main(options) == 0
    said = capsys.readouterr().out.strip().splitlines()
    assert made == [("experts", 40_000), ("few", 41_000)]
    assert ran[0][1] == (3 if full else 2) and any(line.startswith("| samora_full | ") for line in said)
    if "--json" in options:
        assert json.loads(said[-1])["samora_lac"]["gain"] == 0


def test_a_run_that_failed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(control, "execute", lambda *_: Progress(failed={"base": "no disk"}))
    monkeypatch.setattr(control, "make_data", lambda *_: None)
    monkeypatch.setattr(control, "check", lambda run: None)
    monkeypatch.chdir(tmp_path)
    assert control.main(["--json"]) == 1
    assert "failed: base: no disk" in capsys.readouterr().out
