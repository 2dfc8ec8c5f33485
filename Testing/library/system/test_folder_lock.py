"""One run at a time in an output folder."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from SAMoraLib.system.folder_lock import NAME, FolderInUse, FolderLock
from Testing.folders import ROOT


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "out"), FolderLock(tmp_path / "out")
    first.take()
    with pytest.raises(OSError, match=r"Another run is writing to .*; wait until it has ended, or choose another"):
        second.take()
    first.release()
    second.take()
    second.release()


def test_a_folder_into_which_nothing_was_written_goes_again(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "out")
    lock.take()
    lock.release()
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    lock.take()
    lock.release()
    assert (tmp_path / "out").exists(), "it was there before"


def test_a_lock_leaves_no_file_behind_and_takes_none_away(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", encoding="utf-8")
    lock = FolderLock(tmp_path)
    lock.take()
    assert len(list(tmp_path.iterdir())) == 2
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_folder_that_was_made_stays_once_something_lies_in_it(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "out")
    lock.take()
    (tmp_path / "out/result.txt").write_text("keep", encoding="utf-8")
    lock.release()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.txt"]


def test_what_was_never_taken_is_released_without_a_trace(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    lock.release()
    lock.take()
    lock.release()
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_disk_without_locks_is_written_to_all_the_same(tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
                                                         ) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = FolderLock(tmp_path / "out")
    if number == errno.EIO:
        with pytest.raises(OSError, match=r"cannot be written to \(no\)"):
            lock.take()
        return
    lock.take()
    assert lock.is_taken and lock.descriptor is None
    lock.release()
    assert list(tmp_path.iterdir()) == [], "nor is there a file in a lock's place"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows hands down no descriptors")
def test_a_child_that_inherits_the_lock_holds_it_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = ("import subprocess, sys; from pathlib import Path; from SAMoraLib.system.folder_lock import FolderLock\n"
            "lock = FolderLock(Path(sys.argv[1])); lock.take()\n"
            "child = subprocess.Popen(['sleep', '60'], pass_fds=[lock.descriptor], stdout=subprocess.DEVNULL)\n"
            "print(child.pid, flush=True); child.wait()")
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    with pytest.raises(FolderInUse):
        FolderLock(tmp_path).take()
    os.kill(child, signal.SIGKILL)
    lock = FolderLock(tmp_path)
    for _ in range(100):
        with contextlib.suppress(FolderInUse):
            lock.take()
            break
        time.sleep(0.05)
    assert lock.is_taken
    lock.release()


def test_a_killed_process_leaves_no_lock_behind(tmp_path: Path) -> None:
    code = ("import sys, time; from pathlib import Path; from SAMoraLib.system.folder_lock import FolderLock\n"
            "lock = FolderLock(Path(sys.argv[1])); lock.take(); print('held', flush=True); time.sleep(60)")
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    lock = FolderLock(tmp_path)
    with pytest.raises(OSError, match="Another run is writing"):
        lock.take()
    child.kill()
    child.wait()
    assert (tmp_path / NAME).exists(), "it could not clear up"
    lock.take()
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match=r"^The output folder '.*' cannot be written to \(.*\); choose another one\.$"):
        FolderLock(tmp_path / "file/out").take()
