"""Ratios of two pieces of work, measured in one run and in turns, so that what slows the machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

Work = Callable[[], object]


@dataclass(frozen=True)
class Pair:
    """Medians over the rounds: seconds of each, and of each round's ratio ours / theirs."""

    ours: float
    theirs: float
    ratio: float


def seconds_of(work: Work, device: torch.device) -> float:
    """How long ``work`` takes, on a GPU by its own clock."""
    if device.type == "cuda":
        return _seconds_on_gpu(work, device)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _seconds_on_gpu(work: Work, device: torch.device) -> float:
    wait(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = torch.cuda.current_stream(device)
    start.record(stream)
    work()
    end.record(stream)
    wait(device)
    return start.elapsed_time(end) / 1000


def wait(device: torch.device) -> None:
    """Until what was given to a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def in_turns(works: Sequence[Work], rounds: int, device: torch.device) -> list[list[float]]:
    """Seconds of each work (works, rounds), after one round that does not count."""
    for work in works:
        work()
    return [list(times) for times in
            zip(*([seconds_of(work, device) for work in works] for _ in range(rounds)), strict=True)]


def paired(ours: Sequence[float], theirs: Sequence[float], our_count: int = 1, their_count: int = 1) -> Pair:
    """Of times measured in turns; the counts are how many slices each did."""
    a, b = [t / our_count for t in ours], [t / their_count for t in theirs]
    return Pair(statistics.median(a), statistics.median(b),
                statistics.median(x / y for x, y in zip(a, b, strict=True)))
