"""One run at a time in a folder, or on a file: a lock that the system frees however its holder ends (torch-free).

filelock asks the system for it, on Linux and macOS with flock, on Windows with its own; it is imported when a lock is
taken, because Slicer installs it with PyTorch. On network folders it holds between the machines if the server keeps
flock, as NFS 4 and SMB mostly do; else between the programs of one machine, or, where the disk knows no locks, not at
all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from SAMoraLib.system.leftovers import PREFIX

if TYPE_CHECKING:
    from filelock import BaseFileLock

NAME = ".samora.lock"
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class FolderInUse(OSError):
    """Another run holds the folder."""


class FolderLock:
    """The lock of ``folder``; taken once, released once.

    Args:
        name: of the file that is locked.

    Attributes:
        is_taken: whether ``take`` succeeded, also on a disk without locks, and ``release`` has not followed.
        descriptor: what holds the lock, on systems where a child process that inherits it holds the lock with us.
    """

    def __init__(self, folder: Path, name: str = NAME) -> None:
        self.folder = folder
        self.name = name
        self.is_taken = False
        self.descriptor: int | None = None
        self._lock: BaseFileLock | None = None
        self._made = False

    def take(self) -> None:
        """Hold the folder.

        Raises:
            FolderInUse: another run holds it.
            OSError: it cannot be written to.
        """
        from filelock import FileLock, Timeout

        self._made = not self.folder.exists()
        # No file in place of a lock, which a killed process would leave behind.
        lock = FileLock(self.folder / self.name, blocking=False, fallback_to_soft=False, on_acquired=self._lend)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            self._lock = lock
        except Timeout as error:
            raise FolderInUse(f"Another run is writing to '{self.folder}'; wait until it has ended, or choose another "
                              "output folder.") from error
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                raise OSError(f"The output folder '{self.folder}' cannot be written to ({error.strerror}); choose "
                              "another one.") from error
        self.is_taken = True

    def _lend(self, descriptor: int) -> None:
        self.descriptor = None if sys.platform == "win32" else descriptor

    def release(self) -> None:
        """Let others have the folder, without a trace of the lock, nor of the folder if it was made and is empty."""
        if not self.is_taken:
            return
        if sys.platform != "win32":  # while nobody else can hold it
            self._remove()
        if self._lock:
            self._lock.release(force=True)
        if sys.platform == "win32":  # which removes no open file
            self._remove()
        self.is_taken, self.descriptor, self._lock = False, None, None
        if self._made:  # and nothing was written: as it was
            with suppress(OSError):
                self.folder.rmdir()

    def _remove(self) -> None:
        with suppress(OSError):
            (self.folder / self.name).unlink(missing_ok=True)


@contextmanager
def claimed(output: Path) -> Iterator[bool]:
    """Inside, no other program that asks by this function has ``output`` for its own: whether it is ours.

    Where no lock can be had it is everybody's; a folder that cannot be written to says so when it is written to.
    """
    name = hashlib.sha256(os.fsencode(output.name)).hexdigest()[:16]  # which is short, whatever the output's own is
    lock = FolderLock(output.parent, f"{PREFIX}{name}.lock")
    try:
        lock.take()
    except FolderInUse:
        yield False
        return
    except OSError:
        yield True
        return
    try:
        yield True
    finally:
        lock.release()
