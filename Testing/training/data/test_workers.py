"""Jobs in processes: all of them, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from Testing.folders import ROOT
from Training.data.workers import do_all

SLOW = """
import sys, time
from pathlib import Path
from Training.data.workers import do_all
from Training.settings.program import program

def work(path):
    path.with_suffix(".begun").touch()
    time.sleep(1)
    path.touch()

if __name__ == "__main__":
    with program():
        do_all(work, [Path(sys.argv[1]) / f"{number}" for number in range(40)], 2, "slow")
"""


def write(path: Path) -> None:
    path.write_text(str(os.getpid()), encoding="utf-8")


def fail(path: Path) -> None:
    raise ValueError(f"'{path.name}' is no use.")


def test_every_job_is_done_in_another_process(tmp_path: Path) -> None:
    do_all(write, [tmp_path / name for name in "abc"], 2, "writing")
    assert str(os.getpid()) not in {path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == 3
    do_all(write, [], 1, "nothing")


def test_a_jobs_fault_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'a' is no use"):
        do_all(fail, [tmp_path / "a"], 1, "failing")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP"])
def test_a_terminals_signal_ends_all_without_a_word_and_nothing_half_done(tmp_path: Path, name: str) -> None:
    """It goes to every process of the group, as from a keyboard."""
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "out").mkdir()
    program = subprocess.Popen([sys.executable, str(tmp_path / "slow.py"), str(tmp_path / "out")], text=True, cwd=ROOT,
                               env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True,
                               stderr=subprocess.PIPE)
    while not list((tmp_path / "out").glob("*.begun")) and program.poll() is None:
        time.sleep(0.05)
    os.killpg(program.pid, getattr(signal, name))
    _, said = program.communicate(timeout=60)
    assert program.returncode == 128 + getattr(signal, name) and "Traceback" not in said
    assert said.rstrip().endswith("Stopped; the same command goes on from here.")
    begun = {path.stem for path in (tmp_path / "out").glob("*.begun")}
    assert begun == {path.name for path in (tmp_path / "out").iterdir() if not path.suffix} and len(begun) < 10


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
def test_workers_end_with_a_program_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW, encoding="utf-8")
    (tmp_path / "out").mkdir()
    program = subprocess.Popen([sys.executable, str(tmp_path / "slow.py"), str(tmp_path / "out")], cwd=ROOT,
                               env=os.environ | {"PYTHONPATH": str(ROOT)}, start_new_session=True)
    while not list((tmp_path / "out").glob("*.begun")) and program.poll() is None:
        time.sleep(0.05)
    program.kill()
    program.wait()
    for _ in range(600):
        if not members_of(program.pid):
            return
        time.sleep(0.05)
    os.killpg(program.pid, signal.SIGKILL)
    pytest.fail("the workers outlived the program")


def members_of(session: int) -> list[str]:
    """The processes of a session that run."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            lines.append(path.read_text().rpartition(")")[2].split())
    return [line[0] for line in lines if line[3] == str(session) and line[0] != "Z"]
