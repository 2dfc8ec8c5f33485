"""Every way in which a reader can fail is noticed, at its input, and the others are read none the less."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from Testing.fuzz import findings
from Testing.fuzz.formats import Format
from Testing.fuzz.mutate import MARK, Files
from Testing.fuzz.run import Limits, Outcome, Task, outcomes

BAD = 3  # the input that readers fail at
LIMITS = Limits(memory=300 << 20, processor_seconds=0.5, seconds=120.0)
IMPATIENT = replace(LIMITS, seconds=4.0)
kept: list[bytes] = []


def good_files() -> list[Files]:
    return [{"a": b"good"}]


def number_of(random: Random, data: bytes) -> bytes:
    return data


def kind_of(read: Callable[[Path], object]) -> Format:
    """Reads as ``read`` does at the input of that number alone."""
    count = iter(range(100))

    def at_one(folder: Path) -> object:
        return read(folder) if next(count) == BAD else (folder / "a").read_bytes()

    return Format("test", good_files, (number_of,), at_one)


def read(act: Callable[[Path], object], limits: Limits = LIMITS) -> dict[int, Outcome]:
    found = {outcome.number: outcome for outcome in outcomes([Task(kind_of(act), 1, range(6))], limits)}
    assert sorted(found) == list(range(6)), "an input was lost"
    return found


def endless(folder: Path) -> object:
    while True:
        pass


def eat(folder: Path) -> object:
    kept.append(b"x" * (1 << 30))
    return kept


def hide_want_of_memory(folder: Path) -> object:
    try:
        return eat(folder)
    except MemoryError as error:
        raise ValueError("It is damaged; get it again.") from error


def refuse(sentence: str) -> Callable[[Path], object]:
    def refused(folder: Path) -> object:
        raise ValueError(sentence)
    return refused


def leave_mark(folder: Path) -> object:
    Path(MARK).mkdir()
    raise ValueError("It carries code; get another.")


@pytest.mark.parametrize(("act", "kind", "what"), [
    (lambda folder: os.kill(os.getpid(), signal.SIGSEGV), findings.CRASH, "SIGSEGV"),
    (lambda folder: ctypes.string_at(0), findings.CRASH, "SIGSEGV"),
    (lambda folder: os.abort(), findings.CRASH, "SIGABRT"),
    (lambda folder: os._exit(7), findings.CRASH, "exit code 7"),
    (lambda folder: os._exit(0), findings.CRASH, "exit code 0"),
    (lambda folder: os.kill(os.getpid(), signal.SIGKILL), findings.MEMORY, "killed by the system"),
    (lambda folder: dict[str, int]()["a"], findings.TRACEBACK, "KeyError"),
    (lambda folder: exit(3), findings.TRACEBACK, "SystemExit"),
    (endless, findings.HANG, "no end"),
    (lambda folder: time.sleep(600), findings.HANG, "no answer"),
    (eat, findings.MEMORY, "MemoryError"),
    (hide_want_of_memory, findings.MEMORY, "ValueError"),
    (refuse("one\ntwo."), findings.SENTENCE, "ValueError of several lines"),
    (leave_mark, findings.WRONG, "code in the file was run"),
])
def test_a_failure_is_noticed_at_its_input(act: Callable[[Path], object], kind: str, what: str) -> None:
    found = read(act, IMPATIENT if what == "no answer" else LIMITS)
    finding = found.pop(BAD).finding
    assert finding is not None
    assert (finding.kind, finding.what, finding.number) == (kind, what, BAD) and set(finding.how) == {"number_of"}
    assert all(outcome.accepted and outcome.finding is None for outcome in found.values())


def test_a_refusal_is_none_and_streams_are_shut(capfd: pytest.CaptureFixture[str]) -> None:
    def ask(folder: Path) -> object:
        print("said")
        raise ValueError(f"Nobody answers but '{os.read(0, 5).decode()}'.")

    found = read(ask)
    assert found[BAD].finding is None and not found[BAD].accepted
    assert capfd.readouterr() == ("", "")


def test_a_wrong_result_and_a_check_that_fails_are_noticed() -> None:
    kind = replace(kind_of(lambda folder: 0), wrong=lambda mutant, folder, result: "axes (1, 2)" if result == 0 else "")
    found = {outcome.number: outcome.finding for outcome in outcomes([Task(kind, 1, range(6))], LIMITS)}
    assert [number for number, finding in found.items() if finding] == [BAD]
    assert found[BAD] is not None and (found[BAD].kind, found[BAD].what) == (findings.WRONG, "axes")  # type: ignore
    kind = replace(kind, wrong=lambda mutant, folder, result: str(1 / result) if result == 0 else "")
    found = {outcome.number: outcome.finding for outcome in outcomes([Task(kind, 1, range(6))], LIMITS)}
    assert found[BAD] is not None and "ZeroDivisionError" in found[BAD].text  # type: ignore[union-attr]


def test_several_children_lose_nothing_and_end_when_nobody_listens(tmp_path: Path) -> None:
    kind = Format("test", good_files, (number_of,), lambda folder: os.abort() if os.getpid() % 3 == 0 else 1)
    tasks = [Task(kind, 1, range(start, start + 5)) for start in range(0, 40, 5)]
    assert sorted(outcome.number for outcome in outcomes(tasks, LIMITS, workers=3)) == list(range(40))
    reading = outcomes([Task(kind_of(lambda folder: time.sleep(600)), 1, range(6))], LIMITS, workers=2)
    next(reading)
    reading.close()
    assert not multiprocessing.active_children()
