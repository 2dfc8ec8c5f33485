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

from Training.config import Optimisation
from Training.loop import fit, make_fabric
from Training.run import Run
from Training.schedule import Schedule

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
    lines = len(Run(tmp_path, optimisation()).read_log())
    second = train(tmp_path)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len(Run(tmp_path, optimisation()).read_log()) == lines


def test_only_what_requires_a_gradient_changes(tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = Regression().state_dict()
    after = train(tmp_path)
    assert torch.equal(before["frozen.weight"], after["frozen.weight"])
    assert not torch.equal(before["line.weight"], after["line.weight"])


def test_every_slice_is_seen_once_per_epoch_whatever_the_number_of_processes() -> None:
    from Training.loop import _batches

    class Keys(Noise):
        def __getitem__(self, key: tuple[int, int]) -> tuple[int, int]:  # type: ignore[override]
            return key

    config = optimisation(steps=14, batch_size=3)  # six epochs of seven
    alone = [key for _, samples in _batches(Keys(), config, 0, 0, 1) for key in samples]
    assert sorted(alone) == [(epoch, index) for epoch in range(6) for index in range(7)]
    shared = [key for rank in range(3) for _, samples in _batches(Keys(), config, 0, rank, 3) for key in samples]
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
    assert [line["validation_dice"] for line in Run(tmp_path, config).read_log() if "validation_dice" in line] == [
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
from Testing.training.test_loop import *
slow = Regression.forward
Regression.forward = lambda self, batch: (time.sleep(0.1), slow(self, batch))[1]
train(Path({folder!r}))
"""


def test_a_killed_process_resumes_to_the_same_weights(tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, "-c", KILLED.format(root=root, folder=str(folder))],
                               env=os.environ | {"OMP_NUM_THREADS": "1"})
    for _ in range(600):
        if (folder / "state.pt").exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    state = Run(folder, optimisation()).load_state()
    assert state is not None and 0 < state["step"] < STEPS, "the process was killed in the middle"
    resumed, whole = train(folder), train(tmp_path / "whole")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


SHARED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from Testing.training.test_loop import *

class Exact(Regression):
    def forward(self, batch):
        x, y = batch
        return (self.line(x)[:, 0] - y).square().mean()

torch.manual_seed(5)
config = optimisation(batch_size=4, devices={devices})
run = Run(Path({folder!r}), config)
objective = Exact()
objective.unused = nn.Linear(2, 2)  # as the mask decoder's estimate of its own quality
fit(make_fabric(config), objective, Noise(), config, run)
"""


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    states = []
    for devices in (1, 2):
        folder, script = tmp_path / str(devices), tmp_path / f"train{devices}.py"
        root = str(Path(__file__).parents[2])
        script.write_text(SHARED.format(root=root, folder=str(folder), devices=devices))
        subprocess.run([sys.executable, str(script)], check=True, timeout=120,
                       env=os.environ | {"OMP_NUM_THREADS": "1"})
        state = Run(folder, optimisation(batch_size=4, devices=devices)).load_state()
        assert state is not None and state["step"] == STEPS
        states.append(state["weights"])
    one, two = states
    assert all(torch.allclose(one[key], two[key], atol=1e-5) for key in one)
