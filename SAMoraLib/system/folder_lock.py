"""One run at a time in an output folder: a lock that the system frees however its holder ends (torch-free).

filelock asks the system for it, on Linux and macOS with flock, on Windows with its own; it is imported when a lock is
taken, because Slicer installs it with PyTorch. On network folders the lock holds as far as the server keeps flock.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

NAME = ".samora.lock"


class FolderLock:
    """The lock of ``folder``; taken once, released once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: BaseFileLock | None = None
        self._made = False

    def take(self) -> None:
        """Hold the folder.

        Raises:
            OSError: another run holds it, or it cannot be written to.
        """
        from filelock import FileLock, Timeout

        self._made = not self.folder.exists()
        lock = FileLock(self.folder / NAME, blocking=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise OSError(f"Another run is writing to '{self.folder}'; wait until it has ended, or choose another "
                          "output folder.") from error
        except NotImplementedError:  # a disk without locks: as before there were any
            return
        except OSError as error:
            raise OSError(f"The output folder '{self.folder}' cannot be written to ({error.strerror}); choose another "
                          "one.") from error
        self._lock = lock

    def release(self) -> None:
        if self._lock is None:
            return
        if sys.platform != "win32":  # while nobody else can hold it
            (self.folder / NAME).unlink(missing_ok=True)
        self._lock.release(force=True)
        if sys.platform == "win32":  # which removes no open file
            with suppress(OSError):
                (self.folder / NAME).unlink(missing_ok=True)
        self._lock = None
        if self._made:  # and nothing was written: as it was
            with suppress(OSError):
                self.folder.rmdir()
