"""Two processes train as one, and a run survives the death of any of them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from Testing.closeness import assert_close
from Testing.training.small_run import assert_same, finish, losses, start, train


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes (gloo)."""
    folder = tmp_path_factory.mktemp("two")
    finish(start(folder, devices=2))
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "model.pt", weights_only=True)


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path, two: Path) -> None:
    train(tmp_path)
    curve = losses(tmp_path)
    assert len(curve) == 50
    assert curve[-10:].mean() < 0.8 * curve[:5].mean(), "it learns, so the curve is not flat by chance"
    assert_close(losses(two), curve, tolerance=1e-3)


def test_workers_change_nothing(tmp_path: Path) -> None:
    none, some = (train(tmp_path / str(workers), steps=12, workers=workers) for workers in (0, 2))
    assert all(torch.equal(none[key], some[key]) for key in none)


def commands(parent: int) -> dict[int, bytes]:
    """The command lines of a process's living children."""
    found = {}
    for child in map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8").split()):
        found[child] = Path(f"/proc/{child}/cmdline").read_bytes()
    return found


def is_running(process: int) -> bool:
    path = Path(f"/proc/{process}/cmdline")
    return path.exists() and path.read_bytes() != b""  # a zombie has no command line


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the second process in /proc")
@pytest.mark.parametrize("victim", [pytest.param("first", marks=pytest.mark.slow), "second"])
def test_a_run_whose_process_is_killed_ends_and_goes_on_later(tmp_path: Path, two: Path, victim: str) -> None:
    killed = start(tmp_path, devices=2, pause=0.02)
    while not (tmp_path / "state.pt").exists() and killed.poll() is None:
        time.sleep(0.05)
    second = next(child for child, line in commands(killed.pid).items() if b"small_run" in line)
    os.kill(killed.pid if victim == "first" else second, signal.SIGKILL)
    killed.communicate(timeout=60)
    assert killed.returncode != 0
    for _ in range(1200):  # the other one must not wait for ever
        if not is_running(second):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the second process still runs")
    assert len(losses(tmp_path)) < 50, "it was killed in the middle"
    finish(start(tmp_path, devices=2, pause=0.02))
    assert_same(weights(tmp_path), weights(two))
