"""A file appears whole or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from SAMoraLib.system.files import atomic_write


def test_the_file_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with atomic_write(path, ".txt") as unfinished:
        unfinished.write_text("all", encoding="utf-8")
        assert not path.exists() and unfinished.suffix == ".txt" and unfinished.name.startswith(".")
    assert path.read_text(encoding="utf-8") == "all"
    assert list(path.parent.iterdir()) == [path]


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 246 + ".seg.nrrd")
    for text in ("first", "second"):
        with atomic_write(path, ".nrrd") as unfinished:
            unfinished.write_text(text, encoding="utf-8")
        assert path.read_text(encoding="utf-8") == text


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as other:
        one.write_bytes(b"1")
        other.write_bytes(b"2")
    assert (tmp_path / "a").read_bytes() == b"1" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.txt'"), atomic_write(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), atomic_write(path) as unfinished:
        unfinished.write_text("ha", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
