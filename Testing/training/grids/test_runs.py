"""Runs of a grid as processes: order, failures, interruptions. The scripts are small ones of the test's own."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

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
