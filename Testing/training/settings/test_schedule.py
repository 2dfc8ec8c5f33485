"""Learning rates: the published ones, their ends, and what lies beyond them."""

from __future__ import annotations

import pytest

from Training.settings.schedule import FORMS, Schedule, lr_at


@pytest.mark.parametrize(("name", "schedule", "total"), [
    ("lr_samed", Schedule("samed", 0.005, 25, 0.9), 140),
    ("lr_masam", Schedule("samed", 8e-4, 10, 7.0), 120),
])
def test_agrees_with_the_published_loops(golden, name, schedule, total):
    # The published loop sets the rate after step i, hence for step i + 1; its optimiser starts with base / W.
    assert lr_at(0, total, schedule) == pytest.approx(schedule.base_lr / schedule.warmup)
    for step, expected in enumerate(golden[name]):
        assert lr_at(step + 1, total, schedule) == pytest.approx(expected, rel=1e-9)


def test_samora_is_equation_1_of_the_supplement():
    schedule = Schedule("samora", 0.005, 25, 1.0)
    assert lr_at(20, 1400, schedule) == pytest.approx(0.005 * 20 / 25)
    assert lr_at(25, 1400, schedule) == pytest.approx(0.005)
    assert lr_at(700, 1400, schedule) == pytest.approx(0.005 * (1 - 675 / 1400))
    assert lr_at(139, 140, schedule) == pytest.approx(9.29e-4, rel=1e-3)


def test_cosine_ends_at_its_final_rate():
    schedule = Schedule("cosine", 1e-3, 10, final_lr=1e-5)
    assert lr_at(10, 110, schedule) == pytest.approx(1e-3)
    assert lr_at(60, 110, schedule) == pytest.approx((1e-3 + 1e-5) / 2)
    assert lr_at(110, 110, schedule) == pytest.approx(1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("warmup", "total"), [(0, 50), (7, 50), (50, 50), (80, 50)])
def test_rises_then_falls_and_is_never_zero_during_the_run(form, warmup, total):
    schedule = Schedule(form, 0.01, warmup)
    rates = [lr_at(step, total, schedule) for step in range(total)]
    assert all(0 < rate <= 0.01 + 1e-12 for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    if warmup == 0:
        assert rates[0] == pytest.approx(0.01)


@pytest.mark.parametrize("wrong", [{"form": "linear"}, {"base_lr": 0}, {"warmup": -1}, {"power": 0}])
def test_refuses_impossible_schedules(wrong):
    with pytest.raises(ValueError, match=r"choose from|needs base_lr"):
        Schedule(**wrong)


def test_a_run_that_stops_early_follows_the_schedule_of_the_whole() -> None:
    whole, early = Schedule(warmup=5), Schedule(warmup=5, total=100)
    assert [lr_at(step, 100, whole) for step in range(80)] == [lr_at(step, 80, early) for step in range(80)]


@pytest.mark.parametrize("form", FORMS)
def test_a_warm_up_of_one_step_begins_at_the_base_rate(form: str) -> None:
    schedule = Schedule(form, 0.01, warmup=1)
    assert [lr_at(step, 40, schedule) for step in (0, 1)] == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize("form", FORMS)
def test_the_warm_up_rises_by_the_same_every_step(form: str) -> None:
    schedule = Schedule(form, 0.1, warmup=5)
    assert [lr_at(step, 40, schedule) for step in range(6)] == pytest.approx([0.02, 0.02, 0.04, 0.06, 0.08, 0.1])


def test_samed_by_hand() -> None:
    """One step of lag, and a division by the whole run."""
    schedule = Schedule("samed", 0.5, warmup=2, power=2)
    assert [lr_at(step, 10, schedule) for step in (3, 4, 8)] == pytest.approx([0.5, 0.5 * 0.9**2, 0.5 * 0.5**2])


@pytest.mark.parametrize(("form", "final"), [("samora", 0.01 * 5 / 6), ("cosine", 0.001)])
def test_a_decay_of_a_single_step_ends_with_it(form: str, final: float) -> None:
    schedule = Schedule(form, 0.01, warmup=5, power=1, final_lr=final)
    assert [lr_at(step, 6, schedule) for step in (5, 6)] == pytest.approx([0.01, final])


@pytest.mark.parametrize("form", FORMS)
def test_what_a_decay_has_reached_it_keeps(form: str) -> None:
    schedule = Schedule(form, 0.01, warmup=2, total=10)
    assert [lr_at(step, 40, schedule) for step in (13, 20, 39)] == pytest.approx([0, 0, 0])


def test_the_least_that_a_schedule_needs_is_enough() -> None:
    assert lr_at(0, 10, Schedule(base_lr=1e-9, warmup=0, power=1e-3)) == 1e-9
