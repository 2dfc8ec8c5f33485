"""Learning rates as pure functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A linear warm-up followed by a decay.

    Attributes:
        form: "samed" or "samora" (polynomial decays of those papers), or "cosine" (pre-training).
        base_lr: the learning rate at the end of the warm-up.
        warmup: optimiser steps of the linear warm-up; 0 starts at ``base_lr``.
        power: exponent of the polynomial decay (SAMed 0.9, MA-SAM 7, SAMora's supplement 1).
        final_lr: where the cosine ends.
        total: steps that the decay is made for, where the run stops earlier (SAMed); 0 takes the run's own.
    """

    form: str = "samed"
    base_lr: float = 0.005
    warmup: int = 250
    power: float = 0.9
    final_lr: float = 0.0
    total: int = 0

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Unknown schedule '{self.form}'; choose from {', '.join(FORMS)}.")
        if self.base_lr <= 0 or self.warmup < 0 or self.power <= 0:
            raise ValueError(f"A schedule needs base_lr > 0, warmup >= 0 and power > 0, but got base_lr "
                             f"{self.base_lr}, warmup {self.warmup}, power {self.power}.")


def _samed(step: int, total: int, schedule: Schedule) -> float:
    # SAMed sets the rate after each step, from that step's number: hence one step of lag. It divides by the total,
    # not by what the warm-up leaves, so that it ends above zero.
    remaining = 1 - max(step - 1 - schedule.warmup, 0) / total
    return schedule.base_lr * max(remaining, 0.0) ** schedule.power


def _samora(step: int, total: int, schedule: Schedule) -> float:
    # Eq. 1 of the supplement divides by MI, all iterations, so that it ends above zero; the released code by MI - WP.
    remaining = 1 - (step - schedule.warmup) / total
    return schedule.base_lr * max(remaining, 0.0) ** schedule.power


def _cosine(step: int, total: int, schedule: Schedule) -> float:
    done = min((step - schedule.warmup) / max(total - schedule.warmup, 1), 1.0)
    return schedule.final_lr + (schedule.base_lr - schedule.final_lr) * (1 + math.cos(math.pi * done)) / 2


FORMS: dict[str, Callable[[int, int, Schedule], float]] = {"samed": _samed, "samora": _samora, "cosine": _cosine}


def lr_at(step: int, total: int, schedule: Schedule) -> float:
    """The learning rate with which optimiser step ``step`` (counted from 0) of ``total`` is taken.

    The warm-up is base_lr * T / W (SAMora's supplement, A.1) with T = ``step``, except that step 0 takes the rate of
    step 1 instead of 0. SAMed's code sets "the rate after step i", which is ``lr_at(i + 1, ...)`` here.
    """
    if step < schedule.warmup:
        return schedule.base_lr * max(step, 1) / schedule.warmup
    return FORMS[schedule.form](step, schedule.total or total, schedule)
