"""Several runs on one output folder: each volume is one run's, and a dead run's is the others'."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.inference.sharing import in_turn
from SAMoraLib.request import Job
from SAMoraLib.system.folder_lock import claimed
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.folders import ROOT

LABELS = Volume(np.ones((2, 3, 4), np.uint8), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def jobs(folder: Path, names: str = "abc") -> list[Job]:
    return [Job(folder / f"{name}.nrrd", folder / "out" / f"{name}.nrrd") for name in names]


def test_two_runs_do_each_volume_once(tmp_path: Path) -> None:
    done: list[tuple[str, str]] = []
    said: list[str] = []
    one, other = (in_turn(jobs(tmp_path), said.append) for _ in range(2))
    for name, run in (("one", one), ("other", other)):
        done.append((name, next(run)[1].output.name))
    for job in jobs(tmp_path)[:2]:  # each ends the one that it has
        write_volume(LABELS, job.output)
    done += [("one", job.output.name) for _, job in one]
    done += [("other", job.output.name) for _, job in other]
    assert done == [("one", "a.nrrd"), ("other", "b.nrrd"), ("one", "c.nrrd"), ("other", "c.nrrd")], "c was not written"
    assert said == ["'b.nrrd' is left to another run, which is busy with it."]


def test_what_another_run_is_busy_with_is_left_to_it_and_told(tmp_path: Path) -> None:
    said: list[str] = []
    first, second, third = jobs(tmp_path)
    with claimed(second.output) as is_ours:
        assert is_ours
        assert list(in_turn([first, second, third], said.append)) == [(0, first), (2, third)]
    assert said == ["'b.nrrd' is left to another run, which is busy with it."]


def test_what_another_run_did_not_end_is_done_at_last(tmp_path: Path) -> None:
    first, second = jobs(tmp_path, "ab")
    turn = in_turn([first, second], pytest.fail)
    with claimed(first.output):
        assert next(turn) == (1, second)
    assert list(turn) == [(0, first)]


def test_no_trace_is_left(tmp_path: Path) -> None:
    assert len(list(in_turn(jobs(tmp_path), pytest.fail))) == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills as Unix does")
def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    job, = jobs(tmp_path, "a")
    code = ("import os, signal, sys; from pathlib import Path; from SAMoraLib.system.folder_lock import claimed\n"
            "with claimed(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)")
    subprocess.run([sys.executable, "-c", code, str(job.output)], cwd=ROOT, check=False)
    assert len(list(job.output.parent.iterdir())) == 1, "it could not clear up"
    assert list(in_turn([job], pytest.fail)) == [(0, job)]
    assert list(job.output.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="a folder that may not be written to")
def test_in_a_folder_without_locks_all_is_ours(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert len(list(in_turn(jobs(tmp_path), pytest.fail))) == 3


def test_where_no_lock_can_be_made_all_is_ours(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file")
    assert len(list(in_turn(jobs(tmp_path), pytest.fail))) == 3
