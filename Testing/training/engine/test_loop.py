"""The loop: resuming, equal results, and refusing what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.utils.data import Dataset

from Testing.closeness import assert_close
from Testing.folders import ROOT
from Testing.slicer.full_disk import full_disk
from Testing.training.small_run import log_of
from Training.engine import loop
from Training.engine.loop import Meter, batch_keys, fit, make_fabric
from Training.engine.run import Run
from Training.settings.optimisation import Optimisation
from Training.settings.schedule import Schedule, lr_at

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


TORN = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from Testing.training.engine.test_loop import *
saved, whole = [], torch.save
def torn(state, path):
    saved.append(path)
    if len(saved) == 3:
        Path(path).write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(state, path)
torch.save = torn
train(Path({folder!r}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_kill_while_the_state_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    subprocess.run([sys.executable, "-c", TORN.format(root=str(ROOT), folder=str(folder))], check=False,
                   env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
    assert [path.read_bytes() for path in folder.glob(".samora_*.tmp")] == [b"half"]
    state = Run(folder, optimisation()).load_state()
    assert state is not None and state["step"] == 6, "of the second time"
    resumed, whole = train(folder), train(tmp_path / "whole")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "log.jsonl", "state.pt"]


@pytest.mark.parametrize("crash_after", [1, 4, 8])
def test_the_log_holds_each_step_once_whatever_interrupted_it(tmp_path: Path, crash_after: int,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(self: Run, state: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # after the line was written, before the state was
        patch.setattr(Run, "save_state", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, crash_after)
    train(tmp_path)
    train(tmp_path)
    assert [line["step"] for line in log_of(tmp_path)] == [3, 6, 9, 12]


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


def sgd(objective: nn.Module, optimisation: Optimisation) -> list[torch.optim.Optimizer]:
    """Whose step is the gradient: AdamW's is the same however large that is."""
    return [torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], optimisation.schedule.base_lr)]


class Mean(nn.Module):
    """The loss is the mean of the batch's numbers, and so is the weight's gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, batch: list[Tensor]) -> Tensor:
        return (self.weight + (1 - self.weight.detach())).squeeze() * batch[1].double().mean()


def step_losses(config: Optimisation) -> list[float]:
    """What ``Mean`` costs in each step."""
    return [float(np.mean([index for _, index in keys])) for keys in batch_keys(7, config, 0, 0, 1)]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_a_batch_in_parts_has_the_gradient_and_the_loss_of_the_whole(tmp_path: Path, parts: int,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "make_optimisers", sgd)
    flat = Schedule(form="cosine", base_lr=0.01, warmup=0, final_lr=0.01)
    config, objective = optimisation(steps=6, batch_size=4, accumulate=parts, schedule=flat), Mean()
    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config))
    expected = step_losses(config)
    assert objective.weight.item() == pytest.approx(1 - 0.01 * sum(expected))
    assert [line["loss"] for line in log_of(tmp_path)] == pytest.approx([np.mean(expected[:3]), np.mean(expected[3:])])


def test_gradients_are_exchanged_once_per_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last part: the earlier ones are added up where they are."""
    config = optimisation(steps=2, batch_size=6, accumulate=3)
    fabric, waits = make_fabric(config), list[bool]()

    def no_backward_sync(_: object, enabled: bool) -> nullcontext[None]:
        waits.append(enabled)
        return nullcontext()

    monkeypatch.setattr(fabric, "no_backward_sync", no_backward_sync)
    fit(fabric, Mean(), Noise(), config, Run(tmp_path, config))
    assert waits == 2 * [True, True, False]


@pytest.mark.parametrize(("clip_norm", "length"), [(0.5, 0.5), (0.0, 5.0), (9.0, 5.0)])
def test_a_gradient_is_cut_to_the_norm_that_is_asked_for(tmp_path: Path, clip_norm: float, length: float,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, _: list[Tensor]) -> Tensor:
            return 3 * self.weight[0] + 4 * self.weight[1]

    monkeypatch.setattr(loop, "make_optimisers", sgd)
    config = optimisation(steps=1, clip_norm=clip_norm, schedule=Schedule("cosine", 1.0, warmup=0))
    objective = Slope()
    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config))
    assert objective.weight.norm().item() == pytest.approx(length, rel=1e-5)


def test_each_step_has_the_schedules_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "make_optimisers", sgd)
    config, objective = optimisation(steps=4, save_every=1), Mean()
    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config))
    rates = [lr_at(step, 4, config.schedule) for step in range(4)]
    assert [line["lr"] for line in log_of(tmp_path)] == rates
    moved = sum(rate * loss for rate, loss in zip(rates, step_losses(config), strict=True))
    assert objective.weight.item() == pytest.approx(1 - moved)


@pytest.mark.parametrize(("save_every", "steps"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (5, [5]), (9, [5])])
def test_a_state_is_saved_every_so_many_steps_and_at_the_end(tmp_path: Path, save_every: int, steps: list[int]) -> None:
    config = optimisation(steps=5, save_every=save_every)
    run = Run(tmp_path, config)
    fit(make_fabric(config), Regression(), Noise(), config, run)
    assert [line["step"] for line in log_of(tmp_path)] == steps
    state = run.load_state()
    assert state is not None and state["step"] == 5


@pytest.mark.parametrize(("validate_every", "steps"), [(0, []), (1, [1, 2, 3]), (2, [2, 3]), (3, [3]), (4, [3])])
def test_a_validation_is_made_every_so_many_steps_and_at_the_end(tmp_path: Path, validate_every: int,
                                                                 steps: list[int]) -> None:
    config, objective = optimisation(steps=3, validate_every=validate_every), Regression()
    told: list[nn.Module] = []

    def validate(module: nn.Module) -> dict[str, float]:
        told.append(module.eval())
        return {"dice": 0.5}

    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config), validate)
    assert [line["step"] for line in log_of(tmp_path) if "validation_dice" in line] == steps
    assert told == [objective] * len(steps)
    assert objective.training, "what a validation stops goes on"


def test_of_equal_validations_the_first_is_kept(tmp_path: Path) -> None:
    config, objective = optimisation(steps=3, validate_every=1), Regression()
    seen: list[Tensor] = []

    def validate(_: nn.Module) -> dict[str, float]:
        seen.append(objective.line.weight.detach().clone())
        return {"dice": 0.5, "other": float(len(seen))}  # the first number alone counts

    run = Run(tmp_path, config)
    fit(make_fabric(config), objective, Noise(), config, run, validate)
    assert torch.equal(objective.line.weight, seen[0]) and not torch.equal(seen[0], seen[2])
    state = run.load_state()
    assert state is not None and (state["best"]["score"], state["best"]["step"]) == (0.5, 1)


def test_a_resumed_run_remembers_its_best_validation(tmp_path: Path) -> None:
    ends = []
    for name, stops in (("whole", [12]), ("halves", [6, 12])):
        scores = iter([0.9, 0.1, 0.2, 0.3])
        for stop in stops:
            torch.manual_seed(5)
            config, objective = optimisation(validate_every=3, save_every=3), Regression()
            run = Run(tmp_path / name, config)

            def validate(_: nn.Module, run: Run = run, stop: int = stop, scores: Iterator[float] = scores
                         ) -> dict[str, float]:
                state = run.load_state()
                if stop < STEPS and state and state["step"] == stop:
                    raise KeyboardInterrupt
                return {"dice": next(scores)}

            with suppress(KeyboardInterrupt):
                fit(make_fabric(config), objective, Noise(), config, run, validate)
        ends.append(objective.line.weight.detach())
    assert torch.equal(*ends)


def test_running_statistics_are_saved_and_other_tables_are_not(tmp_path: Path) -> None:
    class Normalised(Regression):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.register_buffer("table", torch.zeros(3))

        def forward(self, batch: list[Tensor]) -> Tensor:
            return super().forward([self.norm(batch[0]), batch[1]])

    config, objective = optimisation(steps=4), Normalised()
    run = Run(tmp_path, config)
    fit(make_fabric(config), objective, Noise(), config, run)
    state = run.load_state()
    assert state is not None
    assert set(state["weights"]) == {"line.weight", "line.bias", "norm.weight", "norm.bias", "norm.running_mean",
                                     "norm.running_var", "norm.num_batches_tracked"}
    fresh = Normalised()
    fit(make_fabric(config), fresh, Noise(), config, run)
    assert int(fresh.norm.num_batches_tracked) == 4
    assert torch.equal(fresh.norm.running_mean, objective.norm.running_mean) and objective.norm.running_mean.any()


def test_a_spread_copy_gives_its_weights_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one device: what is set up is a copy, and the objective is what a caller goes on with."""
    monkeypatch.setattr(loop, "sharded_strategy", lambda: "auto")
    ends = []
    for strategy in ("auto", "fsdp"):
        torch.manual_seed(5)
        config, objective = optimisation(strategy=strategy), Regression()
        fit(make_fabric(config), objective, Noise(), config, Run(tmp_path / strategy, config))
        ends.append(objective.state_dict())
    assert all(torch.equal(value, ends[1][key]) for key, value in ends[0].items())


@pytest.mark.parametrize("recompute", [True, False])
def test_blocks_are_computed_again_where_that_is_asked_for(tmp_path: Path, recompute: bool) -> None:
    class Stack(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.recompute = nn.ModuleList(), False

    config, objective = optimisation(steps=1, recompute=recompute), Regression()
    objective.stack = Stack()
    fit(make_fabric(config), objective, Noise(), config, Run(tmp_path, config))
    assert objective.stack.recompute is recompute


def test_an_objective_that_compares_the_batch_is_computed_whole(tmp_path: Path) -> None:
    class Contrast(Regression):
        compares_the_batch = True

    config = optimisation(steps=1, batch_size=4, accumulate=1)
    fit(make_fabric(config), Contrast(), Noise(), config, Run(tmp_path, config))
    assert len(log_of(tmp_path)) == 1


def test_slices_come_in_another_order_each_epoch_and_from_any_step_on() -> None:
    config = optimisation(steps=14, batch_size=3)
    keys = [key for batch in batch_keys(7, config, 0, 0, 1) for key in batch]
    orders = [tuple(index for epoch, index in keys if epoch == number) for number in range(6)]
    assert len(set(orders)) == 6 and tuple(range(7)) not in orders
    for start in (1, 5, 13):
        assert [key for batch in batch_keys(7, config, start, 0, 1) for key in batch] == keys[3 * start:]
    other = [key for batch in batch_keys(7, optimisation(steps=14, seed=2), 0, 0, 1) for key in batch]
    assert other != keys and sorted(other) == sorted(keys)


class Asked:
    """What lightning-fabric is asked for."""

    def __init__(self, **named: Any) -> None:
        self.named, self.did = named, list[str]()

    def launch(self) -> None:
        self.did.append("launch")

    def seed_everything(self, seed: int, verbose: bool) -> None:
        self.did.append(f"seed {seed}")


@pytest.mark.parametrize(("fields", "strategy"), [
    ({"devices": 1, "nodes": 1}, "auto"),
    ({"devices": 2, "nodes": 1}, "ddp_find_unused_parameters_true"),
    ({"devices": 1, "nodes": 2}, "ddp_find_unused_parameters_true"),
    ({"devices": "auto", "nodes": 1}, "ddp_find_unused_parameters_true"),
])
def test_several_processes_expect_parameters_without_a_gradient(fields: dict[str, Any], strategy: str,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    """The mask decoder's estimate of its own quality takes part in no loss."""
    monkeypatch.setattr(loop, "Fabric", Asked)
    fabric: Any = make_fabric(optimisation(seed=7, precision="bf16-mixed", **fields))
    assert fabric.named == {"accelerator": "cpu", "devices": fields["devices"], "num_nodes": fields["nodes"],
                            "strategy": strategy, "precision": "bf16-mixed"}
    assert fabric.did == ["launch", "seed 7"]


def test_a_model_is_spread_where_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Fabric", Asked)
    fabric: Any = make_fabric(optimisation(strategy="fsdp"))
    assert isinstance(fabric.named["strategy"], ModelParallelStrategy)


@pytest.mark.parametrize(("threads", "set_to"), [(0, []), (3, [3])])
def test_torch_keeps_its_threads_unless_told(threads: int, set_to: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    make_fabric(optimisation(threads=threads))
    assert counts == set_to


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_memory_is_pinned_for_a_gpu_alone(device: str) -> None:
    fabric: Any = SimpleNamespace(device=torch.device(device), global_rank=0, world_size=1)
    assert loop._loader(Noise(), optimisation(), 0, fabric).pin_memory == (device == "cuda")


def test_the_log_tells_waiting_from_working(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    fabric = make_fabric(optimisation())

    def prepared(count: int) -> Iterator[list[Tensor]]:
        for _ in range(count):
            clock[0] += 0.125
            yield []

    meter, read = Meter("run", 0, 3, shown=False), []
    for step, _ in enumerate(meter.waiting(prepared(3))):
        clock[0] += 1
        meter.add(loss=2.0 * step, rate=0.5 ** step)
        if step:
            read.append(meter.read(fabric))
    meter.close()
    assert read == [{"loss": 1.0, "lr": 0.5, "seconds": 2.25, "waited": 0.25},
                    {"loss": 4.0, "lr": 0.25, "seconds": 1.12, "waited": 0.12}]


@pytest.mark.parametrize("full_at", [1, 2, 3])
def test_a_full_disk_ends_the_run_and_room_lets_it_go_on_to_the_same_weights(tmp_path: Path, full_at: int,
                                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    saved, save = [], Run.save_state

    def save_while_there_is_room(run: Run, state: dict[str, Any]) -> None:
        saved.append(state)
        with full_disk(1000) if len(saved) == full_at else nullcontext():
            save(run, state)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "save_state", save_while_there_is_room)
        with pytest.raises(OSError, match=r"state\.pt' could not be written"):
            train(tmp_path / "full")
    assert not list((tmp_path / "full").glob(".samora*"))
    resumed, whole = train(tmp_path / "full"), train(tmp_path / "whole")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert [line["step"] for line in log_of(tmp_path / "full")] == [3, 6, 9, 12]


def test_whoever_is_stopped_ends_the_processes_that_it_started() -> None:
    ended: list[str] = []
    child = SimpleNamespace(terminate=lambda: ended.append("child"))
    fabric: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=[child])))
    alone: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    for who in (alone, fabric):
        with pytest.raises(KeyboardInterrupt), loop._ending_others(who):
            raise KeyboardInterrupt
    with loop._ending_others(fabric):
        pass
    assert ended == ["child"]
