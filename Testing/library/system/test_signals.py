"""Signals that ask for the end are answered once, as an interruption is, and those that are ignored stay so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from SAMoraLib.system import signals
from SAMoraLib.system.signals import Stopped, describe_exit, exit_code, stopping_at_signals
from Testing.folders import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of Unix")


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_each_has_its_exit_code_and_passes_what_catches_errors(name: str, code: int) -> None:
    with stopping_at_signals(), pytest.raises(KeyboardInterrupt) as stop:
        try:
            send(getattr(signal, name))
        except Exception:
            pytest.fail("taken for an error")
    assert exit_code(stop.value) == code


def test_tidying_up_is_not_interrupted_by_its_echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    with stopping_at_signals():
        with pytest.raises(Stopped):
            send(signal.SIGHUP)
        send(signal.SIGHUP)
        send(signal.SIGTERM)
        monkeypatch.setattr(signals, "TIDYING_SECONDS", 0.0)
        with pytest.raises(Stopped):  # it did not end: somebody means it
            send(signal.SIGTERM)


def test_afterwards_all_is_as_before() -> None:
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with stopping_at_signals():
        assert [signal.getsignal(number) for number in signals.SIGNALS] != before
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before


def test_what_nohup_ignores_stays_ignored() -> None:
    program = ("import os, signal\nfrom SAMoraLib.system.signals import stopping_at_signals\n"
               "with stopping_at_signals():\n    os.kill(os.getpid(), signal.SIGHUP)\nprint('went on')")
    command = ["nohup", sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "went on\n"


def test_in_another_thread_nothing_is_changed() -> None:
    seen: list[object] = []

    def work() -> None:
        with stopping_at_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(("code", "said"), [
    (0, "ended by itself (exit code 0)"), (1, "ended by itself (exit code 1)"),
    (136, "ended by itself (exit code 136)"), (138, "ended by itself (exit code 138)"),
    (-11, f"was ended by signal 11 ({signal.strsignal(11)})"), (-1000, "was ended by signal 1000"),
    (-9, "was ended by the system (signal 9), most often because memory ran out"),
    (137, "was ended by the system (signal 9), most often because memory ran out")])
def test_an_end_is_told_in_words(code: int, said: str) -> None:
    assert describe_exit(code) == said
