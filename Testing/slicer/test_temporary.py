"""Folders of a run: closed to others, gone at its end, and swept by the next start where it was killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from SAMoraLib.system.folder_lock import NAME
from SAMoraSlicer import temporary
from SAMoraSlicer.process import child_environment
from SAMoraSlicer.temporary import PREFIX, PrivateFolder, sweep

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals, accounts and links")
HOLDER = """
import sys, time
from pathlib import Path
from SAMoraSlicer.temporary import PrivateFolder
folder = PrivateFolder(Path(sys.argv[1]))
(folder.path / "request.json").write_text("patient")
print(folder.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """Another program that holds a folder in ``tmp_path``."""
    started = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                               env=child_environment())
    assert started.stdout is not None and started.stdout.readline().startswith(str(tmp_path))
    yield started
    started.kill()
    started.wait()


def left(parent: Path, name: str = "left") -> Path:
    """As a killed run leaves it."""
    folder = parent / f"{PREFIX}{name}"
    folder.mkdir(mode=0o700)
    (folder / NAME).touch()
    (folder / "request.json").write_text("patient", encoding="utf-8")
    return folder


def test_it_is_private_and_goes_with_all_that_it_holds(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    assert folder.path.parent == tmp_path and folder.path.is_dir()
    if os.name != "nt":
        assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    (folder.path / "request.json").write_text("patient", encoding="utf-8")
    folder.cleanup()
    folder.cleanup()
    assert list(tmp_path.iterdir()) == []


def test_it_goes_with_its_holder(tmp_path: Path) -> None:
    folder = PrivateFolder(tmp_path)
    del folder
    assert list(tmp_path.iterdir()) == []


@posix
def test_what_a_killed_run_left_is_swept_by_the_next_start(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    assert len(list(tmp_path.glob("*/request.json"))) == 1
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    folder = PrivateFolder(tmp_path)
    assert list(tmp_path.iterdir()) == [folder.path] and not (folder.path / "request.json").exists()
    folder.cleanup()


def test_what_a_living_run_holds_stays(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    own = PrivateFolder(tmp_path)
    (own.path / "request.json").write_text("patient", encoding="utf-8")
    sweep(tmp_path)
    assert len(list(tmp_path.glob("*/request.json"))) == 2
    own.cleanup()


def test_other_peoples_files_stay(tmp_path: Path) -> None:
    (tmp_path / "samora-old").mkdir()
    (tmp_path / "samora-old" / "request.json").touch()
    (tmp_path / f"{PREFIX}file").touch()
    (tmp_path / f"{PREFIX}being-made").mkdir(mode=0o700)
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    (tmp_path / f"{PREFIX}link").symlink_to(elsewhere)
    folder = left(tmp_path)
    (folder / "link").symlink_to(elsewhere)
    sweep(tmp_path)
    assert (elsewhere / "kept").exists() and not (elsewhere / NAME).exists() and not folder.exists()


@posix
def test_what_others_can_enter_or_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_to_all = left(tmp_path, "open")
    open_to_all.chmod(0o777)
    sweep(tmp_path)
    assert (open_to_all / "request.json").exists()
    anothers = left(tmp_path, "another")
    monkeypatch.setattr(temporary.os, "getuid", lambda: os.geteuid() + 1)
    sweep(tmp_path)
    assert (anothers / "request.json").exists()


def test_where_no_folder_can_be_made_it_is_said(tmp_path: Path) -> None:
    sweep(tmp_path / "nowhere")
    with pytest.raises(OSError, match=r"No such file|cannot find"):
        PrivateFolder(tmp_path / "nowhere")


def test_a_folder_that_a_sweep_holds_while_it_is_made_is_made_anew(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Path] = []
    take = temporary.FolderLock.take

    def held_at_first(lock: temporary.FolderLock) -> None:
        tried.append(lock.folder)
        if len(tried) == 1:
            raise temporary.FolderInUse("held")
        take(lock)

    monkeypatch.setattr(temporary.FolderLock, "take", held_at_first)
    folder = PrivateFolder(tmp_path)
    assert len(tried) == 2 and folder.path == tried[1]
    folder.cleanup()
