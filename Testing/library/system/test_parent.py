"""A program that ends with the one that started it, and by itself as if nobody watched."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from SAMoraLib.system import parent
from SAMoraLib.system.parent import INTERRUPTED, VARIABLE, run_as_child
from Testing.folders import ROOT

WATCHED = "import sys, time\nfrom SAMoraLib.system.parent import run_as_child\nimport os\n"


def start(program: str, asked: str = "1") -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), VARIABLE: asked}
    return subprocess.Popen([sys.executable, "-c", WATCHED + program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, env=environment)


def test_its_own_exit_code_is_kept() -> None:
    child = start("sys.exit(run_as_child(lambda: 7))")
    assert child.wait(30) == 7
    assert child.stderr is not None and child.stderr.read() == b""


def test_an_interruption_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.delenv(VARIABLE, raising=False)
    assert run_as_child(interrupted) == INTERRUPTED == 130


def test_what_the_parent_says_ends_nothing() -> None:
    child = start("time.sleep(1); sys.exit(run_as_child(lambda: time.sleep(1) or 3))")
    assert child.stdin is not None
    child.stdin.write(b"some words")
    child.stdin.flush()
    assert child.wait(30) == 3


@pytest.mark.parametrize(("program", "code", "after"), [
    ("sys.exit(run_as_child(lambda: time.sleep(60) or 0))", INTERRUPTED, 0.0),
    # One that does not listen gets some time, and no more.
    ("def deaf():\n  while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass\nrun_as_child(deaf)",
     INTERRUPTED, parent.GRACE_SECONDS),
])
def test_it_ends_with_the_parent(program: str, code: int, after: float) -> None:
    child = start(program)
    time.sleep(1)
    assert child.poll() is None and child.stdin is not None
    closed = time.monotonic()
    child.stdin.close()
    assert child.wait(30) == code
    assert after <= time.monotonic() - closed < after + 5


def test_nobody_is_watched_unless_asked_for() -> None:
    child = start("sys.exit(run_as_child(lambda: time.sleep(1) or 4))", asked="")
    assert child.stdin is not None
    child.stdin.close()
    assert child.wait(30) == 4


def test_what_it_starts_is_not_asked_to_watch() -> None:
    child = start(f"sys.exit(run_as_child(lambda: 5 + ({VARIABLE!r} in os.environ)))")
    assert child.wait(30) == 5
