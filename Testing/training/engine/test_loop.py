"""The loop: resuming, equal results, and refusing what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from Testing.closeness import assert_close
from Testing.folders import ROOT
from Testing.training.small_run import log_of
from Training.engine.loop import batch_keys, fit, make_fabric
from Training.engine.run import Run
from Training.settings.optimisation import Optimisation
from Training.settings.schedule import Schedule

STEPS = 12


class Noise(Dataset[tuple[Tensor, Tensor]]):
    """Samples that depend on (epoch, index) as real slices do."""

    def __len__(self) -> int:
        return 7  # not a multiple of the batch size: batches cross epochs

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(key)
        return torch.from_numpy(rng.standard_normal(4, dtype=np.float32)), torch.tensor(float(key[1]))


class Regression(nn.Module):
    """A loss with noise of its own, so that a resumed run must also resume the random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 1)
        self.frozen = nn.Linear(4, 1).requires_grad_(False)

    def forward(self, batch: list[Tensor]) -> Tensor:
        x, y = batch
        return (self.line(x + 0.1 * torch.randn_like(x))[:, 0] - y).square().mean()


def optimisation(**changes: object) -> Optimisation:
    fields = {"steps": STEPS, "batch_size": 3, "schedule": Schedule(form="cosine", base_lr=0.05, warmup=2),
              "accelerator": "cpu", "devices": 1, "threads": 1, "save_every": 3}
    return Optimisation(**(fields | changes))  # type: ignore[arg-type]


def train(folder: Path, crash_after: int | None = None, optimiser: str = "adamw") -> dict[str, Tensor]:
    torch.manual_seed(5)
    objective = Regression()
    config = optimisation(optimiser=optimiser)
    run = Run(folder, config)
    if crash_after is not None:
        original = objective.forward
        calls = iter(range(STEPS))

        def forward(batch: list[Tensor]) -> Tensor:
            if next(calls) == crash_after:
                raise KeyboardInterrupt
            return original(batch)

        objective.forward = forward  # type: ignore[method-assign]
    fit(make_fabric(config), objective, Noise(), config, run)
    return {key: value.clone() for key, value in objective.state_dict().items()}


@pytest.mark.parametrize(("crash_after", "optimiser"), [(1, "adamw"), (3, "adamw"), (7, "adamw"), (11, "adamw"),
                                                        (7, "muon")])
def test_an_interrupted_run_ends_at_the_same_weights(tmp_path: Path, crash_after: int, optimiser: str) -> None:
    whole = train(tmp_path / "whole", optimiser=optimiser)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", crash_after, optimiser)
    resumed = train(tmp_path / "cut", optimiser=optimiser)
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_a_finished_run_is_not_trained_again(tmp_path: Path) -> None:
    first = train(tmp_path)
    lines = len(log_of(tmp_path))
    second = train(tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len(log_of(tmp_path)) == lines


def test_only_what_requires_a_gradient_changes(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = Regression().state_dict()
    after = train(tmp_path)
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["line.weight"], after["line.weight"])


def test_every_slice_is_seen_once_per_epoch_whatever_the_number_of_processes() -> None:
    config = optimisation(steps=14, batch_size=3)  # six epochs of seven
    alone = [key for keys in batch_keys(7, config, 0, 0, 1) for key in keys]
    assert sorted(alone) == [(epoch, index) for epoch in range(6) for index in range(7)]
    shared = [key for rank in range(3) for keys in batch_keys(7, config, 0, rank, 3) for key in keys]
    assert sorted(shared) == sorted(alone)


def test_the_best_validation_is_kept(tmp_path: Path) -> None:
    config = optimisation(validate_every=4)
    objective = Regression()
    seen: list[Tensor] = []
    scores = iter([0.2, 0.9, 0.5])

    def validate(_: nn.Module) -> dict[str, float]:
        seen.append(objective.line.weight.detach().clone())
        return {"dice": next(scores)}

    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config), validate)
    assert len(seen) == 3
    assert torch.equal(objective.line.weight, seen[1])
    assert [line["validation_dice"] for line in log_of(tmp_path) if "validation_dice" in line] == [
        0.2, 0.9, 0.5]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Broken(Regression):
        def forward(self, batch: list[Tensor]) -> Tensor:
            return super().forward(batch) * float("nan")

    config = optimisation()
    with pytest.raises(ValueError, match="loss is nan at step 0"):
        fit(make_fabric(config), Broken(), Noise(), config, Run(tmp_path, config))


def test_nothing_to_train_is_refused(tmp_path: Path) -> None:
    config = optimisation()
    with pytest.raises(ValueError, match="Nothing in this objective is trainable"):
        fit(make_fabric(config), Regression().requires_grad_(False), Noise(), config, Run(tmp_path, config))


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from Testing.training.engine.test_loop import *
slow = Regression.forward
Regression.forward = lambda self, batch: (time.sleep(0.1), slow(self, batch))[1]
train(Path({folder!r}))
"""


def test_a_killed_process_resumes_to_the_same_weights(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    root = str(ROOT)
    process = subprocess.Popen([sys.executable, "-c", KILLED.format(root=root, folder=str(folder))],
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
    while not (folder / "state.pt").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = Run(folder, optimisation()).load_state()
    assert state is not None and 0 < state["step"] < STEPS, "the process was killed in the middle"
    resumed, whole = train(folder), train(tmp_path / "whole")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_gradients_of_the_parts_of_a_batch_add_up(tmp_path: Path) -> None:
    class Exact(Regression):
        def forward(self, batch: list[Tensor]) -> Tensor:
            x, y = batch
            return (self.line(x)[:, 0] - y).square().mean()

    ends = []
    for parts in (1, 2, 4):
        torch.manual_seed(5)
        config, objective = optimisation(batch_size=4, accumulate=parts), Exact()
        fit(make_fabric(config), objective, Noise(), config, Run(tmp_path / str(parts), config))
        ends.append(objective.line.weight.detach())
    for end in ends[1:]:
        assert_close(end, ends[0])


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    config = optimisation(batch_size=3, accumulate=2)
    with pytest.raises(ValueError, match="A batch of 3 cannot be shared evenly by 1 processes in 2 parts each"):
        fit(make_fabric(config), Regression(), Noise(), config, Run(tmp_path, config))


def test_an_objective_that_compares_the_batch_is_not_computed_in_parts(tmp_path: Path) -> None:
    class Contrast(Regression):
        compares_the_batch = True

    config = optimisation(batch_size=4, accumulate=2)
    with pytest.raises(ValueError, match=r"set optimisation\.accumulate to 1"):
        fit(make_fabric(config), Contrast(), Noise(), config, Run(tmp_path, config))


def test_the_log_tells_what_the_data_cost(tmp_path: Path) -> None:
    train(tmp_path)
    lines = log_of(tmp_path)
    assert all(0 <= line["waited"] <= line["seconds"] + 0.01 for line in lines)
