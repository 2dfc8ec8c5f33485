"""No test harms the machine that it runs on: not its packages, not its files, nobody on the network.

Python tells an audit hook of what it is about to do, before it does it. A test that would install or remove packages,
speak to another computer, or write, move or delete outside its temporary folder and the caches is stopped there, and
fails with what it tried, whether or not the code under test catches what stops it. Programs that tests start are not
watched, but get a home and temporary folders of their own, and proxies that lead nowhere.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|::1|localhost|")
INSTALLER = re.compile(r"(pip[\d.]*|uv|conda|mamba|apt(-get)?)(\.exe)?")
MODULES = ("pip", "ensurepip", "uv", "conda")  # run as "python -m ..."
SHELLS = ("sh", "bash", "cmd.exe")
CACHES = ("__pycache__", ".pytest_cache", ".hypothesis", ".cache", ".mypy_cache", ".ruff_cache")
DEVICES = ("/dev/", "/proc/self/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NOWHERE = "http://127.0.0.1:9"  # where nobody listens


class Forbidden(Exception):
    """What a test must not do; the sentence says which test tried what."""


class Guard:
    """What the running test may touch, and what it tried beside that.

    Attributes:
        test: its id; None while no test runs, when nothing is stopped.
        folder: where it may write.
        tried: what was stopped.
    """

    def __init__(self) -> None:
        self.test: str | None = None
        self.folder = Path()
        self.tried: list[str] = []

    def stop(self, what: str) -> None:
        """Note and refuse."""
        sentence = f"{self.test} tried to {what}; a test stays in its temporary folder, on this machine."
        self.tried.append(sentence)
        raise Forbidden(sentence)

    def check_path(self, what: str, path: Any, folder: int = -1) -> None:
        """Refuse a file or folder outside ``folder`` and the caches.

        Args:
            folder: descriptor of the folder that ``path`` begins in, as where a tree is deleted; -1 for none.
        """
        if not isinstance(path, str | bytes | os.PathLike) or folder != -1:
            return  # a descriptor was checked when it was opened
        named = Path(os.fsdecode(path))
        # A link is deleted where it lies, and written where it leads.
        place = named.resolve() if what == "write" else named.parent.resolve() / named.name
        if not (place.is_relative_to(self.folder) or str(place).startswith(DEVICES) or set(CACHES) & set(place.parts)):
            self.stop(f"{what} '{place}'")

    def check_open(self, path: Any, mode: str | None, flags: int) -> None:
        if (mode is not None and set(mode) & set("wax+")) or (mode is None and flags & WRITING):
            self.check_path("write", path)

    def check_move(self, before: Any, after: Any, from_folder: int, to_folder: int) -> None:
        self.check_path("move", before, from_folder)
        self.check_path("write", after, to_folder)

    def check_address(self, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""  # a UNIX socket is on this machine
        if not LOOPBACK.fullmatch(str(host)):
            self.stop(f"connect to {host}")

    def check_host(self, host: Any) -> None:
        name = os.fsdecode(host) if isinstance(host, bytes) else str(host or "")
        if not LOOPBACK.fullmatch(name) and name != socket.gethostname():
            self.stop(f"look up {name}")

    def check_program(self, program: Any, arguments: Any) -> None:
        words = arguments.split() if isinstance(arguments, str) else [os.fsdecode(word) for word in arguments or ()]
        words = words or [os.fsdecode(program)]
        if Path(words[0]).name in SHELLS and len(words) > 2:
            words = words[2].split()
        module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
        if INSTALLER.fullmatch(Path(words[0]).name) or module in MODULES:
            self.stop(f"run '{' '.join(words[:6])}'")

    def check_import(self, module: str) -> None:
        if module == "pip":
            self.stop("import pip")


GUARD = Guard()
# Audit event -> what to check of its arguments, see docs.python.org/3/library/audit_events.html.
CHECKS: dict[str, Callable[..., None]] = {
    "open": GUARD.check_open,
    "import": lambda module, *_: GUARD.check_import(module),
    "os.mkdir": lambda path, mode, folder: GUARD.check_path("make", path, folder),
    "os.remove": lambda path, folder: GUARD.check_path("delete", path, folder),
    "os.rmdir": lambda path, folder: GUARD.check_path("delete", path, folder),
    "os.rename": lambda before, after, *folders: GUARD.check_move(before, after, *folders),
    "os.link": lambda before, after, *folders: GUARD.check_path("write", after, folders[1]),
    "os.symlink": lambda before, after, folder: GUARD.check_path("write", after, folder),
    "os.truncate": lambda path, *_: GUARD.check_path("write", path),
    "os.chmod": lambda path, mode, folder: GUARD.check_path("change", path, folder),
    "os.utime": lambda path, times, ns, folder: GUARD.check_path("change", path, folder),
    "shutil.rmtree": lambda path, *_: GUARD.check_path("delete", path),
    "socket.connect": lambda _, address: GUARD.check_address(address),
    "socket.sendto": lambda _, address: GUARD.check_address(address),
    "socket.getaddrinfo": lambda host, *_: GUARD.check_host(host),
    "socket.gethostbyname": lambda host: GUARD.check_host(host),
    "subprocess.Popen": lambda program, arguments, *_: GUARD.check_program(program, arguments),
    "os.system": lambda command: GUARD.check_program("", os.fsdecode(command)),
    "os.exec": lambda program, arguments, _: GUARD.check_program(program, arguments),
    "os.posix_spawn": lambda program, arguments, _: GUARD.check_program(program, arguments),
}


def _watch(event: str, arguments: Sequence[Any]) -> None:
    if GUARD.test is not None and (check := CHECKS.get(event)) is not None:
        check(*arguments)


sys.addaudithook(_watch)


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A home, a temporary folder and a way out to nowhere, for the tests and for all that they start."""
    with pytest.MonkeyPatch.context() as patch:
        for name, folder in (("HOME", "home"), ("XDG_DATA_HOME", "home"), ("TMPDIR", "temporary")):
            patch.setenv(name, str(tmp_path_factory.mktemp(folder)))
        patch.setattr(tempfile, "tempdir", None)  # found anew, from TMPDIR
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, NOWHERE)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1,localhost")
        yield
        tempfile.tempdir = None


@pytest.fixture(autouse=True)
def guarded(request: pytest.FixtureRequest, own_folders: None, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Guard]:
    """Watch one test, and fail it for what it tried."""
    GUARD.folder, GUARD.tried = tmp_path_factory.getbasetemp().resolve(), []
    GUARD.test = request.node.nodeid
    yield GUARD
    GUARD.test = None
    if GUARD.tried:
        pytest.fail("\n".join(GUARD.tried))
