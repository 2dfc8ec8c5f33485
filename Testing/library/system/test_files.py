"""A file appears whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

from SAMoraLib.system import files
from SAMoraLib.system.files import atomic_write, write_text


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


@pytest.mark.parametrize("said", [OSError(errno.ENOSPC, "No space left on device"), OSError("5 requested, 3 written")])
def test_a_full_disk_names_the_file(tmp_path: Path, said: OSError) -> None:
    path, cause = tmp_path / "a.txt", said.strerror or str(said)
    with pytest.raises(OSError) as error, atomic_write(path):
        raise said
    assert str(error.value) == told(path, cause) and error.value.strerror == cause
    assert not list(tmp_path.iterdir())


def told(path: Path, cause: str) -> str:
    return (f"'{path}' could not be written ({cause}); check that the disk has room and that the folder may be written "
            "to, or choose another one.")


def test_the_hidden_files_name_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(OSError) as error, atomic_write(path) as unfinished:
        raise PermissionError(errno.EACCES, "Permission denied", str(unfinished))
    assert str(error.value) == told(path, "Permission denied")
    monkeypatch.setattr(os, "open", lambda name, *_: failing(name))
    with pytest.raises(OSError) as error, atomic_write(path):
        pytest.fail("it was made")
    assert str(error.value) == told(path, "Read-only file system")


def failing(name: Path) -> None:
    raise OSError(errno.EROFS, "Read-only file system", str(name))


def test_a_folder_that_cannot_be_made_is_told_by_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError) as error, atomic_write(tmp_path / "file" / "a.txt"):
        pytest.fail("it was made")
    assert str(error.value).startswith(f"'{tmp_path / 'file' / 'a.txt'}' could not be written (")


def test_what_is_wrong_with_another_file_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"), atomic_write(tmp_path / "a.txt"):
        (tmp_path / "none.txt").read_bytes()
    with pytest.raises(OSError, match=r"^A sentence\.$"), atomic_write(tmp_path / "a.txt"):
        raise OSError("A sentence.")


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of Unix")
def test_a_link_that_somebody_laid_is_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    monkeypatch.setattr(files, "unfinished_name", lambda ending: ".guessed")
    for target in (victim, tmp_path / "not there yet"):
        (tmp_path / ".guessed").symlink_to(target)
        with pytest.raises(OSError, match=r"a\.txt' could not be written"):
            write_text(tmp_path / "a.txt", "harm")
        assert (tmp_path / ".guessed").is_symlink(), "nor removed: it is not ours"
        (tmp_path / ".guessed").unlink()
    assert victim.read_text(encoding="utf-8") == "precious" and [path.name for path in tmp_path.iterdir()] == ["victim"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of Unix")
def test_a_link_laid_while_it_is_written_takes_no_name(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious", encoding="utf-8")
    with pytest.raises(OSError, match="no safe place"), atomic_write(tmp_path / "a.txt") as unfinished:
        unfinished.unlink()
        unfinished.symlink_to(tmp_path / "victim")
    assert [path.name for path in tmp_path.iterdir()] == ["victim"]


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions of Unix")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_who_may_read_it_is_the_umasks_word(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_text(tmp_path / "a.txt", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_alone(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(error), atomic_write(path) as unfinished:
        unfinished.write_text("ha", encoding="utf-8")
        raise error
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]
