"""One run at a time in an output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from SAMoraSlicer.folder_lock import FolderLock


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
