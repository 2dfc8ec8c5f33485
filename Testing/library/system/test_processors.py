"""How many processors are free, as Linux counts their time."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from SAMoraLib.system.processors import Moment, free_between, look

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="as Linux says it")
TICKS = os.sysconf("SC_CLK_TCK") if sys.platform == "linux" else 100
START = Moment(300.0, 40.0, 90.0, 7.0)


@pytest.fixture(autouse=True)
def two_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", {0: {0, 2}}.__getitem__)  # of this process alone is it asked
    monkeypatch.setattr(os, "nice", {0: 0}.__getitem__)  # it is asked, not changed


def machine(root: Path, idle: float, **files: str) -> Path:
    """Four processors, each idle for so many seconds, waiting for one, and with two of programs that give way."""
    line = f"1 {2 * TICKS} 1 {int(idle * TICKS)} {TICKS} 0 0 0 9999 9999"
    texts = {"proc/stat": "".join(f"cpu{number} {line}\n" for number in ("", 0, 1, 2, 3)) + "intr 1 2\n", **files}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_the_processors_of_this_process_count_alone(tmp_path: Path) -> None:
    moment = look(machine(tmp_path, idle=7.0))
    assert moment is not None and moment.idle == 2 * (7 + 1 + 2) and moment.groups == ()
    assert moment.total == pytest.approx(2 * (7 + 1 + 2 + 2 / TICKS))


def test_to_a_program_that_gives_way_itself_others_that_do_are_no_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                      ) -> None:
    monkeypatch.setattr(os, "nice", {0: 10}.__getitem__)
    moment = look(machine(tmp_path, idle=7.0))
    assert moment is not None and moment.idle == 2 * (7 + 1)


def test_where_the_system_says_nothing_nothing_is_known(tmp_path: Path) -> None:
    assert look(tmp_path) is None


@pytest.mark.parametrize(("idle", "own", "free"), [
    (20.0, 0.0, 2.0),  # nobody does anything
    (10.0, 10.0, 2.0),  # this process alone, with one thread
    (0.0, 20.0, 2.0),  # with two
    (0.0, 5.0, 0.5),  # one of four that began together
    (0.0, 10.0, 1.0), (6.0, 4.0, 1.0), (-0.5, 0.0, 0.0)])
def test_free_is_what_is_idle_or_ours(tmp_path: Path, idle: float, own: float, free: float) -> None:
    after = Moment(START.time + 10.0, START.idle + idle, START.total + 20.0, START.own + own)
    assert free_between(START, after, tmp_path) == pytest.approx(free)


def test_half_a_second_says_as_much_as_ten(tmp_path: Path) -> None:
    after = Moment(START.time + 0.5, START.idle + 0.4, START.total + 1.0, START.own + 0.25)
    assert free_between(START, after, tmp_path) == pytest.approx(1.3)


@pytest.mark.parametrize("after", [Moment(300.0, 41.0, 92.0, 7.0), Moment(310.0, 40.0, 90.0, 12.0)])
def test_clocks_that_stand_still_say_nothing(tmp_path: Path, after: Moment) -> None:
    assert free_between(START, after, tmp_path) is None


@pytest.mark.parametrize("files", [
    {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.max": "200000 100000\n",
     "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/job/cpu.stat": "usage_usec 5000000\nuser_usec 1\n"},
    {"proc/self/cgroup": "4:cpu,cpuacct:/job\n", "sys/fs/cgroup/cpu/job/cpu.cfs_quota_us": "200000\n",
     "sys/fs/cgroup/cpu/job/cpu.cfs_period_us": "100000\n", "sys/fs/cgroup/cpu/job/cpuacct.usage": "5000000000\n",
     "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}])
def test_a_container_or_job_may_have_less(tmp_path: Path, files: dict[str, str]) -> None:
    """Of 64 processors two, of which others in it took one and a half."""
    root = machine(tmp_path, 0.0, **files)
    moment = look(root)
    assert moment is not None and moment.groups == (5.0,)
    before, after = Moment(0.0, 0.0, 0.0, 0.0, (5.0,)), Moment(10.0, 600.0, 640.0, 5.0, (25.0,))
    assert free_between(before, after, root) == pytest.approx(0.5)
