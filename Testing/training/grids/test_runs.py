"""Runs of a grid as processes: order, failures, interruptions. The scripts are small ones of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from Testing.folders import ROOT
from Testing.refusals import refusal
from Training.grids import runs as grid_runs
from Training.grids.plan import PlannedRun
from Training.grids.runs import execute, is_finished

SCRIPT = """
import os, sys, time
from pathlib import Path
options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:])
folder = Path(options["output"])
folder.mkdir(parents=True, exist_ok=True)
with (folder.parent / "order").open("a") as file:
    file.write(f"{folder.name} {os.environ.get('CUDA_VISIBLE_DEVICES', 'any')}\\n")
(folder / "pid").write_text(str(os.getpid()))
time.sleep(float(options.get("seconds", 0)))
if "fail" in options:
    raise SystemExit(options["fail"])
"""


@pytest.fixture(autouse=True)
def scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m Training.work`` in the children: the package of the folder that they start in."""
    (tmp_path / "Training").mkdir()
    (tmp_path / "Training" / "__init__.py").touch()
    (tmp_path / "Training" / "work.py").write_text(SCRIPT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def planned(folder: Path, name: str, *needs: str, **options: object) -> PlannedRun:
    arguments = [f"--output={folder / name}", *(f"--{key}={value}" for key, value in options.items())]
    return PlannedRun(name, name, folder / name, "work", tuple(arguments), needs)


def order(folder: Path) -> list[str]:
    return (folder / "order").read_text(encoding="utf-8").splitlines() if (folder / "order").exists() else []


def test_each_run_comes_after_those_that_it_needs_and_is_done_once(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    runs = [planned(folder, "expert"), planned(folder, "row", "expert"), planned(folder, "test", "row")]
    progress = execute(runs, folder, [None, None])
    assert progress.finished == ["expert", "row", "test"] and not progress.failed
    assert order(folder) == ["expert any", "row any", "test any"]
    assert execute(runs, folder, [None]).finished == ["expert", "row", "test"]
    assert len(order(folder)) == 3, "nothing was run again"


def test_another_command_or_a_lost_folder_is_run_again(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    execute([planned(folder, "row", seed=1)], folder, [None])
    assert is_finished(planned(folder, "row", seed=1), folder)
    assert not is_finished(planned(folder, "row", seed=2), folder)
    for path in (folder / "row").iterdir():
        path.unlink()
    (folder / "row").rmdir()
    assert not is_finished(planned(folder, "row", seed=1), folder)


def test_a_failure_stops_what_needs_it_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "grid"
    runs = [planned(folder, "bad", fail="there is no base"), planned(folder, "after", "bad"),
            planned(folder, "later", "after"), planned(folder, "good")]
    progress = execute(runs, folder, [None])
    assert progress.finished == ["good"]
    assert progress.failed == {"bad": "there is no base", "after": "not started, it needs bad",
                               "later": "not started, it needs after"}
    assert "bad: FAILED: there is no base" in capfd.readouterr().out
    assert "there is no base" in (folder / "logs" / "bad.log").read_text(encoding="utf-8")
    assert [line.split()[0] for line in order(folder)] == ["bad", "good"]


def test_each_run_at_the_same_time_sees_its_own_device(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    execute([planned(folder, name, seconds=0.5) for name in "abcd"], folder, ["0", "3"])
    devices = [line.split()[1] for line in order(folder)]
    assert sorted(devices[:2]) == ["0", "3"] and sorted(devices[2:]) == ["0", "3"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_an_interruption_ends_the_children_and_the_next_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                     ) -> None:
    folder, running = tmp_path / "grid", tmp_path / "grid" / "long" / "pid"

    def interrupt(seconds: float) -> None:
        if running.exists() and running.read_text(encoding="utf-8"):
            raise KeyboardInterrupt
        time.sleep(min(seconds, 0.05))

    short, long = planned(folder, "short"), planned(folder, "long", "short", seconds=60)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(grid_runs, "time", type("Clock", (), {"sleep": interrupt, "monotonic": time.monotonic}))
        execute([short, long], folder, [None])
    with pytest.raises(ProcessLookupError):
        os.kill(int(running.read_text(encoding="utf-8")), 0)
    assert json.loads((folder / "finished" / "short.json").read_text()) == [short.script, *short.arguments]
    assert not (folder / "finished" / "long.json").exists()
    execute([short, planned(folder, "long", "short")], folder, [None])
    assert [line.split()[0] for line in order(folder)] == ["short", "long", "long"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
def test_two_grids_do_not_write_into_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "grid"
    with grid_runs._alone(folder):
        assert "is in use by another grid" in refusal(lambda: execute([planned(folder, "a")], folder, [None]))
    assert not order(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"3", b'{"a": 1}', b'["work"]'])
def test_a_marker_that_nobody_understands_marks_nothing(tmp_path: Path, content: bytes) -> None:
    folder, run = tmp_path / "grid", planned(tmp_path / "grid", "row")
    execute([run], folder, [None])
    (folder / "finished" / "row.json").write_bytes(content)
    assert not is_finished(run, folder)
    assert execute([run], folder, [None]).finished == ["row"] and is_finished(run, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_to_the_grid_ends_its_children(tmp_path: Path, name: str) -> None:
    code = ("import sys; from pathlib import Path; from Training.settings.program import program\n"
            "from Training.grids.runs import execute; from Training.grids.plan import PlannedRun\n"
            "folder = Path(sys.argv[1])\n"
            "run = PlannedRun('a', 'a', folder / 'a', 'work', (f'--output={folder / \"a\"}', '--seconds=60'), ())\n"
            "import os; os.chdir(sys.argv[2])\n"
            "with program():\n    execute([run], folder, [None])\n")
    grid = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "grid"), str(tmp_path)], cwd=ROOT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    running = tmp_path / "grid" / "a" / "pid"
    while grid.poll() is None and not (running.exists() and running.read_text(encoding="utf-8")):
        time.sleep(0.05)
    grid.send_signal(getattr(signal, name))
    _, said = grid.communicate(timeout=60)
    assert (grid.returncode, said) == (128 + getattr(signal, name), "Stopped; the same command goes on from here.\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int(running.read_text(encoding="utf-8")), 0)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_child_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_runs, "GRACE_SECONDS", 0.1)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    deaf = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert deaf.stdout is not None and deaf.stdout.readline()
    grid_runs._end([grid_runs.Child(planned(tmp_path, "a"), deaf, None, 0.0)])
    assert deaf.returncode == -signal.SIGKILL


def test_of_a_log_of_any_size_the_last_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a\n" * 100_000 + "it failed\n\n", encoding="utf-8")
    assert grid_runs._last_line(tmp_path / "log") == "it failed"
    (tmp_path / "log").write_text("", encoding="utf-8")
    assert grid_runs._last_line(tmp_path / "log") == "it said nothing"
