"""A saved state that is another run's, or nothing like one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from Testing.refusals import refusal
from Testing.training.engine.test_loop import STEPS, optimisation, train
from Training.engine.run import Run
from Training.engine.sharding import load_optimiser_state
from Training.engine.state import load_optimisers, require_fitting

WEIGHTS = {"line.weight": torch.zeros(1, 3), "line.bias": torch.zeros(1)}
STATE: dict[str, Any] = {"step": 3, "weights": WEIGHTS, "best": {}, "optimisers": []}
BEST = {"score": 0.5, "step": 2, "weights": WEIGHTS}


@pytest.mark.parametrize("state", [STATE, STATE | {"best": BEST}, STATE | {"step": 9}])
def test_a_state_of_this_run(state: dict[str, Any]) -> None:
    require_fitting(state, WEIGHTS, steps=9)


@pytest.mark.parametrize(("change", "cause"), [
    ({"step": 0}, "its step is 0 of 9"), ({"step": 10}, "its step is 10 of 9"), ({"step": -1}, "its step is -1"),
    ({"step": "3"}, "step of it is '3' instead of a whole number"), ({"weights": [1]}, "weights of it is a list"),
    ({"more": 1}, "it has the unknown field 'more'"), ({"optimisers": {}}, "optimisers of it is a table"),
    ({"weights": {}}, "it has other weights, first 'line.bias'"), ({"best": 3}, "best of it is 3"),
    ({"weights": WEIGHTS | {"other": torch.zeros(1)}}, "it has other weights, first 'other'"),
    ({"weights": WEIGHTS | {"line.bias": torch.zeros(2)}}, r"its 'line.bias' is no tensor of \(1,\) and torch.float32"),
    ({"weights": WEIGHTS | {"line.bias": torch.zeros(1).double()}}, "its 'line.bias' is no tensor"),
    ({"weights": WEIGHTS | {"line.bias": 0.0}}, "its 'line.bias' is no tensor"),
    ({"best": {"score": 0.5}}, "best lacks step, weights"), ({"best": BEST | {"weights": {}}}, "it has other weights"),
])
def test_any_other(change: dict[str, Any], cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        require_fitting(STATE | change, WEIGHTS, steps=9)


def stepped() -> torch.optim.AdamW:
    line = nn.Linear(3, 1)
    optimiser = torch.optim.AdamW(line.parameters())
    line(torch.ones(2, 3)).sum().backward()
    optimiser.step()
    return optimiser


def test_optimisers_take_their_own_states_alone() -> None:
    state = stepped().state_dict()
    load_optimisers([stepped()], [copy.deepcopy(state)], load_optimiser_state)
    wide = copy.deepcopy(state)
    wide["state"][0]["exp_avg"] = torch.zeros(5, 5)
    text = copy.deepcopy(state)
    text["state"][0]["exp_avg"] = "moment"
    for states in ([], [state, state], [3], [{}], [{"state": {}, "param_groups": []}], [{"state": {7: {}}}], [wide],
                   [text], [{"state": [], "param_groups": state["param_groups"]}]):
        with pytest.raises(ValueError, match=r"optimiser"):
            load_optimisers([stepped()], states, load_optimiser_state)


@pytest.mark.parametrize("content", [
    {"line.weight": torch.zeros(1)}, [1, 2], torch.zeros(3), {}, {"step": 3}, "text",
    STATE, STATE | {"weights": {}}, STATE | {"step": STEPS + 1},
])
def test_a_run_refuses_the_state_of_another_and_goes_on_from_its_own(tmp_path: Path, content: object) -> None:
    whole = train(tmp_path / "run")
    own = (tmp_path / "run" / "state.pt").read_bytes()
    torch.save(content, tmp_path / "run" / "state.pt")
    said = refusal(lambda: train(tmp_path / "run"))
    assert "state.pt' is " in said and "to start this run again" in said
    (tmp_path / "run" / "state.pt").write_bytes(own)
    again = train(tmp_path / "run")
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_a_state_of_another_optimiser_is_refused(tmp_path: Path) -> None:
    train(tmp_path / "run")
    run = Run(tmp_path / "run", optimisation())
    state = run.load_state()
    assert state is not None
    run.save_state(state | {"optimisers": [{"state": {}, "param_groups": []}]})
    assert "is no state of this run (it is of another optimiser)" in refusal(lambda: train(tmp_path / "run"))
