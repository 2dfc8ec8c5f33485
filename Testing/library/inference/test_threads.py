"""As many threads as processors are free, and as many as somebody asked for where somebody did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from SAMoraLib.inference import threads
from SAMoraLib.inference.threads import CHOSEN, SECONDS, FreeThreads
from SAMoraLib.system.processors import Moment


@pytest.fixture(autouse=True)
def four_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    for name in CHOSEN:
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def moments(monkeypatch: pytest.MonkeyPatch, *free: float | None, step: float = 2.0) -> None:
    """Every look is ``step`` seconds after the last, and between them so many processors were free."""
    times, found = iter(range(100)), iter(free)
    monkeypatch.setattr(threads, "look", lambda: Moment(300.0 + next(times) * step, 0.0, 0.0, 0.0))
    monkeypatch.setattr(threads, "free_between", lambda *_: next(found))


def adapted(chosen: FreeThreads, count: int) -> list[int]:
    found = []
    for _ in range(count):
        chosen.adapt()
        found.append(torch.get_num_threads())
    return found


def test_it_follows_what_is_free_from_one_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    moments(monkeypatch, 0.2, 1.4, 2.6, None, 64.0, 3.6)
    assert adapted(FreeThreads(), 6) == [1, 1, 3, 3, 4, 4]


def test_what_happened_while_the_program_loaded_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments(monkeypatch, 1.0)
    chosen = FreeThreads(since=Moment(295.0, 0.0, 0.0, 0.0))
    assert adapted(chosen, 1) == [1]


def test_it_looks_again_when_some_time_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    moments(monkeypatch, 1.0, step=SECONDS / 2)
    assert adapted(FreeThreads(), 2) == [4, 1]


def test_it_looks_again_when_just_that_time_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    moments(monkeypatch, 1.0, step=SECONDS)
    assert adapted(FreeThreads(), 1) == [1]


@pytest.mark.parametrize("name", CHOSEN)
def test_what_the_environment_says_is_kept(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "3")
    moments(monkeypatch, *[1.0] * 9)
    assert adapted(FreeThreads(), 2) == [4, 4], "which torch itself took from it, before"


def test_what_is_asked_for_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    moments(monkeypatch, *[1.0] * 9)
    assert adapted(FreeThreads(2), 2) == [2, 2]


def test_where_the_system_does_not_say_torch_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "look", lambda: None)
    assert adapted(FreeThreads(), 2) == [4, 4]


def test_this_machine_says(tmp_path: Path) -> None:
    chosen = FreeThreads()
    chosen.adapt()
    assert 1 <= torch.get_num_threads() <= 4
