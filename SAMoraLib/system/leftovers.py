"""Hidden files that a killed program left behind: how they are called, and who removes them (torch-free).

Unfinished files say in their names which process of which system writes them. One whose process is gone is removed by
the next program of ours that writes into the folder. Of another computer's, on a network folder, or of one that was
restarted, nobody can tell but by their age.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import secrets
import stat
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

PREFIX = ".samora_"
NAME = re.compile(rf"{re.escape(PREFIX)}(?P<system>[0-9a-f]{{8}})_(?P<process>[0-9]+)_[0-9a-f]{{16}}\..+")
OLD_SECONDS = 24 * 3600.0  # no file is written for so long without a word to the disk

_swept: set[Path] = set()


def unfinished_name(ending: str) -> str:
    """A name that nobody guesses, of at most ``places.UNFINISHED`` bytes, with what tells whether its writer lives."""
    return f"{PREFIX}{_this_system()}_{os.getpid()}_{secrets.token_hex(8)}{ending}"


def sweep_once(folder: Path) -> None:
    """``sweep``, the first time that this process asks for it."""
    if (folder := folder.absolute()) not in _swept:
        _swept.add(folder)
        sweep(folder)


def sweep(folder: Path) -> None:
    """Remove this user's unfinished files whose writers are dead; links are left alone, and nothing is ever raised."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _remove_if_dead(Path(entry.path), entry.stat(follow_symlinks=False))


def _remove_if_dead(path: Path, found: os.stat_result) -> None:
    is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == _this_user(found)
    if is_ours and (not _may_live(path.name) or time.time() - found.st_mtime > OLD_SECONDS):
        path.unlink(missing_ok=True)


def _may_live(name: str) -> bool:
    """Whether the writer may be at work: of an earlier version's files, and another system's, nobody can tell."""
    parts = NAME.fullmatch(name)
    if parts is None or parts["system"] != _this_system() or sys.platform == "win32":  # where the question would kill
        return True
    try:
        os.kill(int(parts["process"]), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _this_user(found: os.stat_result) -> int:
    return os.geteuid() if hasattr(os, "geteuid") else found.st_uid


@cache
def _this_system() -> str:
    """This computer since its start, and this container: where a process's number means the same process."""
    parts = [platform.node()]
    with suppress(OSError):  # Linux alone says more than a name
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()[:8]
