"""One run at a time in an output folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import filelock
import pytest

from SAMoraLib.system.folder_lock import NAME, FolderLock
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


def test_a_disk_without_locks_is_written_to_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "_acquire", refuse)
    lock = FolderLock(tmp_path / "out")
    lock.take()
    lock.release()
    assert (tmp_path / "out").is_dir()


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
