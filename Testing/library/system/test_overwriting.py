"""One file by many names, and what is not one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from SAMoraLib.system.overwriting import is_same_file, refuse_overwriting
from Testing.refusals import refusal


def same(path: Path) -> Path:
    return path


def relative(path: Path) -> Path:
    return Path(os.path.relpath(path))


def roundabout(path: Path) -> Path:
    (path.parent / "sub").mkdir()
    return path.parent / "sub" / ".." / path.name


def link(path: Path) -> Path:
    (path.parent / "link.bin").symlink_to(path)
    return path.parent / "link.bin"


def link_to_a_link(path: Path) -> Path:
    (path.parent / "second.bin").symlink_to(link(path))
    return path.parent / "second.bin"


def hard_link(path: Path) -> Path:
    (path.parent / "hard.bin").hardlink_to(path)
    return path.parent / "hard.bin"


def linked_folder(path: Path) -> Path:
    (path.parent.parent / "there").symlink_to(path.parent, target_is_directory=True)
    return path.parent.parent / "there" / path.name


@pytest.fixture
def read(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "model.bin"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


NAMES = pytest.mark.parametrize("name", [same, relative, roundabout, link, link_to_a_link, hard_link, linked_folder])


@NAMES
def test_one_file_by_every_name(name: Callable[[Path], Path], read: Path, tmp_path: Path) -> None:
    output = name(read)
    assert is_same_file(output, read) and is_same_file(read, output)
    message = refusal(lambda: refuse_overwriting(output, [tmp_path / "not there", read]))
    assert f"'{output}' is " in message and "would be replaced; name another output." in message
    assert read.read_bytes() == b"weights"


def test_a_disk_that_does_not_tell_capitals_apart(read: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = read.with_name("MODEL.bin")
    assert not is_same_file(other, read)
    found = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: found(Path(str(path).replace("MODEL", "model")), **how))
    assert is_same_file(other, read)


def test_other_files_may_be_written(read: Path, tmp_path: Path) -> None:
    copy = tmp_path / "model.bin"
    copy.write_bytes(read.read_bytes())
    refuse_overwriting(copy, [read])
    refuse_overwriting(tmp_path / "new.bin", [read, tmp_path / "not there"])
    refuse_overwriting(read, [])


def test_what_is_not_there_yet_is_told_by_its_path(tmp_path: Path) -> None:
    assert is_same_file(tmp_path / "a", tmp_path / "a")
    assert not is_same_file(tmp_path / "a", tmp_path / "b")


def test_a_link_in_a_circle_is_no_file(tmp_path: Path, read: Path) -> None:
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert not is_same_file(tmp_path / "circle", read)


def test_a_folder_is_no_output(tmp_path: Path) -> None:
    assert "is a folder; name the file to write" in refusal(lambda: refuse_overwriting(tmp_path, []))
