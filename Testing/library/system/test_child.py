"""A child that dies is told of, one that is to stop stops once, and none outlives whoever waits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.system.child import START, ChildDied, run_in_child
from Testing.folders import ROOT

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def count(tell: Any) -> list[int]:
    for number in range(3):
        tell([number, "é"])
    return [1, 2]


def die(code: int, tell: Any) -> None:
    tell("begun")
    os.kill(os.getpid(), -code) if code < 0 else os._exit(code)


def fail(error: Exception, tell: Any) -> None:
    raise error


def stumble(tell: Any) -> None:
    raise KeyError("a fault of ours")


@pytest.mark.parametrize("start", dict.fromkeys([START, "spawn"]))
def test_what_is_told_and_returned_arrives(start: str) -> None:
    heard: list[Any] = []
    assert run_in_child(count, heard.append, start) == [1, 2]
    assert heard == [[0, "é"], [1, "é"], [2, "é"]]


@POSIX
@pytest.mark.parametrize("code", [-signal.SIGSEGV, -signal.SIGKILL, -signal.SIGABRT, 3, 0])
def test_a_child_that_dies_is_told_of(code: int) -> None:
    heard: list[Any] = []
    with pytest.raises(ChildDied) as death:
        run_in_child(partial(die, code), heard.append)
    assert death.value.code == code and heard == ["begun"]


def test_a_fault_of_ours_ends_the_child_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ChildDied) as death:
        run_in_child(stumble, print)
    assert death.value.code == 1 and "a fault of ours" in capfd.readouterr().err


@pytest.mark.parametrize("error", [ValueError("It is broken."), FileNotFoundError("There is none."),
                                   OSError(28, "No room"), ImportError("no module", name="torch")])
def test_a_refusal_arrives(error: Exception) -> None:
    with pytest.raises((ValueError, OSError, ImportError)) as found:
        run_in_child(partial(fail, error), print)
    assert str(found.value) == str(error) and getattr(found.value, "name", None) == getattr(error, "name", None)


PROGRAM = """
import os, sys, time
from contextlib import nullcontext
from pathlib import Path
from SAMoraLib.system import child
from SAMoraLib.system.child import run_in_child
from SAMoraLib.system.signals import exit_code, stopping_at_signals

folder = Path(sys.argv[1])

def work(tell):
    (folder / "half").write_text("")
    (folder / "pid").write_text(str(os.getpid()))
    try:
        tell("begun")
        time.sleep(60)
    finally:
        time.sleep(0.3)  # for a second signal to come within the cleaning
        (folder / "half").unlink()

with stopping_at_signals() if sys.argv[2:] else nullcontext():
    try:
        run_in_child(work, lambda told: print(told, flush=True))
    except KeyboardInterrupt as stop:
        sys.exit(exit_code(stop))
"""


def ended_by(folder: Path, *ends: Any, program: str = PROGRAM, options: Sequence[str] = ()) -> int | None:
    """The exit code of a program that is at work in a child when ``ends`` are done to it."""
    process = subprocess.Popen([sys.executable, "-c", program, str(folder), *options], stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    assert process.stdout is not None and process.stdout.readline() == b"begun\n"
    child = int((folder / "pid").read_text())
    for end in ends:
        end(process.pid, child)
    process.wait(30)
    for _ in range(1000):
        if not is_running(child):
            return process.returncode
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    return None


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(("ends", "code"), [
    ([lambda parent, child: os.kill(parent, signal.SIGINT)], 130),
    ([lambda parent, child: os.killpg(parent, signal.SIGINT)], 130),  # as a terminal does
    ([lambda parent, child: os.kill(child, signal.SIGTERM)], 143),
    ([lambda parent, child: os.kill(child, signal.SIGHUP)], 129),
    ([lambda parent, child: os.kill(parent, signal.SIGTERM)], -signal.SIGTERM),
    ([lambda parent, child: os.killpg(parent, signal.SIGTERM)], -signal.SIGTERM),
    ([lambda parent, child: os.kill(parent, signal.SIGKILL)], -signal.SIGKILL)])
def test_whoever_is_told_to_stop_both_end_and_nothing_is_left(tmp_path: Path, ends: list[Any], code: int) -> None:
    assert ended_by(tmp_path, *ends) == code
    assert not (tmp_path / "half").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("whole", [os.kill, os.killpg])
@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGINT, signal.SIGHUP),
                                     (signal.SIGTERM, signal.SIGINT), (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)])
def test_several_signals_leave_time_to_tidy_up(tmp_path: Path, whole: Any, numbers: Sequence[int]) -> None:
    def send(number: int, parent: int, _: int) -> None:
        whole(parent, number)
        time.sleep(0.1)

    ends = [partial(send, number) for number in numbers]
    assert ended_by(tmp_path, *ends, options=["listening"]) == 128 + numbers[0]
    assert not (tmp_path / "half").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.timeout(60)
def test_a_child_that_does_not_hear_is_ended(tmp_path: Path) -> None:
    deaf = PROGRAM.replace("time.sleep(60)", "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
                           "        time.sleep(60)").replace("import os,", "import signal, os,")
    deaf = deaf.replace("folder =", "child.ASKED_AGAIN_SECONDS = 0.1\nfolder =")
    ends = [lambda parent, child: (time.sleep(0.5), os.kill(parent, signal.SIGINT))]
    assert ended_by(tmp_path, *ends, program=deaf) == 130
