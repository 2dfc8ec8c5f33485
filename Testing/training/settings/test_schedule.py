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


def test_samora_decays_over_what_the_warm_up_leaves():
    schedule = Schedule("samora", 0.005, 25, 0.9)
    assert lr_at(25, 1400, schedule) == pytest.approx(0.005)
    assert lr_at(700, 1400, schedule) == pytest.approx(0.005 * (1 - 675 / 1375) ** 0.9)
    assert 0 < lr_at(1399, 1400, schedule) < 1e-5


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
