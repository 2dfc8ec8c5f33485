"""A model spread over two processes (FSDP2 on the CPU) trains as a whole one does, and so does its resumed run."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from Testing.closeness import assert_close
from Testing.training.small_run import assert_same, finish, losses, start, train

STEPS = 8


def test_a_spread_model_goes_on_from_a_whole_ones_state_and_trains_as_it_does(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "samora", steps=STEPS)
    train(tmp_path / "begun", "samora", steps=STEPS // 2)
    (tmp_path / "spread").mkdir()
    shutil.copy(tmp_path / "begun" / "state.pt", tmp_path / "spread")
    finish(start(tmp_path / "spread", variant="samora", steps=STEPS, devices=2, strategy="fsdp", recompute=True))
    curve = torch.cat([losses(tmp_path / "begun"), losses(tmp_path / "spread")])
    assert curve.shape == (STEPS,)
    assert_close(curve, losses(tmp_path / "whole"))
    assert_same(torch.load(tmp_path / "spread" / "model.pt", weights_only=True), whole)
    states = [torch.load(tmp_path / name / "state.pt", weights_only=True) for name in ("spread", "whole")]
    assert states[0]["weights"].keys() == states[1]["weights"].keys()
    moments = [state["optimisers"][0]["state"][0]["exp_avg"] for state in states]
    assert_close(*moments, tolerance=1e-3)
