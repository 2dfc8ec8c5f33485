"""Folders for what a run hands to its child: nobody else may look into them, and nothing of them stays.

A run that was killed could not remove its own, in which a request names patients' files. So each is held by a lock that
the system frees with its holder, and whoever starts next removes those that nobody holds.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path

from SAMoraLib.system.folder_lock import FolderInUse, FolderLock

PREFIX = "samora-run-"
ATTEMPTS = 5


class PrivateFolder:
    """A new folder that only this account may enter, with a lock on it; what killed runs left beside it goes.

    Attributes:
        path: where it is.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, parent: Path) -> None:
        sweep(parent)
        self.path, lock = _make(parent)
        self._remove = weakref.finalize(self, _remove, self.path, lock)

    def cleanup(self) -> None:
        """Remove it and all that it holds."""
        self._remove()


def sweep(parent: Path) -> None:
    """Remove the folders of runs that were killed: this account's own, no links, and none that a living run holds."""
    for folder in _left_in(parent):
        lock = FolderLock(folder)
        try:
            lock.take()
        except (OSError, ImportError):  # a living run's; or filelock is not installed yet, and nobody holds anything
            continue
        if sys.platform == "win32" or lock.descriptor is not None:  # else the disk knows no locks
            _remove(folder, lock)
        else:
            lock.release()


def _make(parent: Path) -> tuple[Path, FolderLock]:
    """A sweep may take a folder that is not locked yet for one that was left: then another is made."""
    for _ in range(ATTEMPTS):
        path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = FolderLock(path)
        try:
            lock.take()
        except FolderInUse:
            continue
        except OSError:
            _remove(path, lock)
            raise
        if path.is_dir():
            return path, lock
    raise OSError(f"'{parent}' gives no folder that stays; choose another temporary folder.")


def _left_in(parent: Path) -> Iterator[Path]:
    """What may have been left: an empty folder is one that is just being made."""
    try:
        entries = [entry for entry in os.scandir(parent) if entry.name.startswith(PREFIX)]
    except OSError:
        return
    for entry in entries:
        try:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(facts.st_mode) and _is_own(facts) and any(os.scandir(entry.path)):
                yield Path(entry.path)
        except OSError:
            continue  # gone meanwhile


def _is_own(facts: os.stat_result) -> bool:
    """This account's and closed to others, so that nobody else has laid anything into it."""
    return sys.platform == "win32" or (facts.st_uid == os.getuid() and not facts.st_mode & 0o077)


def _remove(path: Path, lock: FolderLock) -> None:
    lock.release()
    shutil.rmtree(path, ignore_errors=True)
