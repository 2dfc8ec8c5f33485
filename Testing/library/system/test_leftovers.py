"""What a killed writer left behind goes; what a living one writes, or somebody else's, stays."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from SAMoraLib.system import leftovers
from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.leftovers import OLD_SECONDS, PREFIX, sweep, unfinished_name
from SAMoraLib.system.places import UNFINISHED
from Testing.folders import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="asks for processes as Unix does")
KILLED = """
import os, signal, sys
from SAMoraLib.system.files import atomic_write
with atomic_write(sys.argv[1], ".nrrd") as unfinished:
    unfinished.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed_while_writing(path: Path) -> str:
    """The name of what it leaves behind."""
    before = set(names(path.parent))
    subprocess.run([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, check=False)
    left, = set(names(path.parent)) - before
    return left


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_the_next_program_that_writes_there_clears_up(tmp_path: Path) -> None:
    left = killed_while_writing(tmp_path / "a.nrrd")
    assert left.startswith(PREFIX)
    second = killed_while_writing(tmp_path / "b.nrrd")
    assert names(tmp_path) == [second], "the second cleared up after the first before it was killed itself"
    with atomic_write(tmp_path / "c.nrrd") as unfinished:
        unfinished.write_bytes(b"whole")
    assert names(tmp_path) == ["c.nrrd"]


def test_what_a_living_process_writes_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.nrrd") as unfinished:
        sweep(tmp_path)
        assert unfinished.is_file()


@pytest.mark.parametrize("name", [".samora_0123456789abcdef.tmp", ".samora_00000000_1_0123456789abcdef.nii.gz",
                                  ".samora_00000000_99999999999999999999_0123456789abcdef.tmp"])
def test_of_another_computer_or_version_age_decides(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"half")
    age(tmp_path / name, OLD_SECONDS - 60)
    sweep(tmp_path)
    assert names(tmp_path) == [name]
    age(tmp_path / name, OLD_SECONDS + 60)
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_a_number_that_no_process_can_have_is_dead(tmp_path: Path) -> None:
    name = unfinished_name(".tmp").replace(f"_{os.getpid()}_", "_" + "9" * 30 + "_")
    (tmp_path / name).write_bytes(b"half")
    sweep(tmp_path)
    assert names(tmp_path) == []


def test_links_folders_and_other_names_stay(tmp_path: Path) -> None:
    dead = killed_while_writing(tmp_path / "a.nrrd")
    (tmp_path / dead).unlink()
    (tmp_path / "mine").write_bytes(b"keep")
    (tmp_path / dead).symlink_to(tmp_path / "mine")
    (tmp_path / f"{dead}2").mkdir()
    (tmp_path / "samora_old.tmp").write_bytes(b"")
    (tmp_path / ".hidden").write_bytes(b"")
    for path in tmp_path.iterdir():
        age(path, 2 * OLD_SECONDS)
    before = names(tmp_path)
    sweep(tmp_path)
    assert names(tmp_path) == before and (tmp_path / "mine").read_bytes() == b"keep"


def test_another_users_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed_while_writing(tmp_path / "a.nrrd")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    sweep(tmp_path)
    assert names(tmp_path) == [left]


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = killed_while_writing(tmp_path / "a.nrrd")

    def forbidden(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbidden)
    sweep(tmp_path)
    assert names(tmp_path) == [left]


def test_a_folder_is_swept_once_and_nothing_is_raised(tmp_path: Path) -> None:
    sweep(tmp_path / "none")
    leftovers.sweep_once(tmp_path)
    left = killed_while_writing(tmp_path / "a.nrrd")
    leftovers.sweep_once(tmp_path)
    assert names(tmp_path) == [left]


def test_a_name_is_never_longer_than_what_is_left_for_it() -> None:
    assert len(unfinished_name(".nii.gz").encode()) + 3 <= UNFINISHED
    assert len({unfinished_name(".tmp") for _ in range(100)}) == 100
