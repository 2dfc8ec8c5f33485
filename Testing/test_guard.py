"""The guard stops what would harm, lets the rest be, and tells which test it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from Testing.guard import Forbidden, Guard

Act = Callable[[Path], object]


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a file, beside the one that tests may write to: if the guard sleeps, nothing else is harmed."""
    folder = Path(tempfile.mkdtemp(prefix="outside-", dir=tmp_path_factory.getbasetemp().parent)).resolve()
    (folder / "file").write_text("kept", encoding="utf-8")
    yield folder
    shutil.rmtree(folder)


def run(*words: str) -> Act:
    return lambda outside: subprocess.run(words, check=False, capture_output=True)


@pytest.mark.parametrize(("act", "what"), [
    (run(sys.executable, "-m", "pip", "--version"), "run '{python} -m pip --version'"),
    (run(sys.executable, "-u", "-m", "ensurepip"), "run '{python} -u -m ensurepip'"),
    (run("pip", "--version"), "run 'pip --version'"),
    (run("/usr/bin/pip3.11", "--version"), "run '/usr/bin/pip3.11 --version'"),
    (run("uv", "--version"), "run 'uv --version'"),
    (lambda _: subprocess.run("pip --version", shell=True, check=False), "run 'pip --version'"),
    (lambda _: os.system("pip --version"), "run 'pip --version'"),
    (lambda _: __import__("pip"), "import pip"),
    (lambda _: socket.create_connection(("192.0.2.1", 80), timeout=1), "look up 192.0.2.1"),
    (lambda _: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 9)), "connect to 192.0.2.1"),
    (lambda _: socket.socket().connect(("192.0.2.1", 80)), "connect to 192.0.2.1"),
    (lambda _: socket.getaddrinfo("example.org", 80), "look up example.org"),
    (lambda _: socket.gethostbyname("example.org"), "look up example.org"),
    (lambda outside: (outside / "new").write_text("", encoding="utf-8"), "write '{outside}/new'"),
    (lambda outside: (outside / "new").open("ab"), "write '{outside}/new'"),
    (lambda outside: (outside / "file").open("r+b"), "write '{outside}/file'"),
    (lambda outside: os.open(outside / "new", os.O_CREAT | os.O_WRONLY), "write '{outside}/new'"),
    (lambda outside: (outside / "new").mkdir(), "make '{outside}/new'"),
    (lambda outside: (outside / "file").unlink(), "delete '{outside}/file'"),
    (lambda outside: outside.rmdir(), "delete '{outside}'"),
    (lambda outside: (outside / "file").rename(outside / "new"), "move '{outside}/file'"),
    (lambda outside: (outside / "file").chmod(0o600), "change '{outside}/file'"),
    (lambda outside: os.utime(outside / "file"), "change '{outside}/file'"),
    (lambda outside: os.truncate(outside / "file", 0), "write '{outside}/file'"),
    (lambda outside: (outside / "new").symlink_to(outside / "file"), "write '{outside}/new'"),
    (lambda outside: (outside / "new").hardlink_to(outside / "file"), "write '{outside}/new'"),
    (lambda outside: shutil.rmtree(outside), "delete '{outside}'"),
    (lambda outside: shutil.copy(outside / "file", outside / "new"), "write '{outside}/new'"),
])
def test_it_stops_what_would_harm(guarded: Guard, request: pytest.FixtureRequest, outside: Path, act: Act, what: str
                                  ) -> None:
    with pytest.raises(Forbidden, match="a test stays in its temporary folder, on this machine"):
        act(outside)
    tried = what.format(outside=outside, python=sys.executable)
    assert guarded.tried[0].startswith(f"{request.node.nodeid} tried to {tried}")
    guarded.tried.clear()  # here it was meant
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text(encoding="utf-8") == "kept"


def test_a_link_does_not_lead_out(guarded: Guard, outside: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(outside / "file")
    with pytest.raises(Forbidden):
        (tmp_path / "link").write_text("", encoding="utf-8")
    guarded.tried.clear()
    (tmp_path / "link").unlink()
    assert guarded.tried == [] and (outside / "file").read_text(encoding="utf-8") == "kept"


def test_what_is_harmless_goes_on(guarded: Guard, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("x", encoding="utf-8")
    (tmp_path / "a/b/file").rename(tmp_path / "a/other")
    shutil.rmtree(tmp_path / "a")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_bytes(b"x")
    Path(__file__).read_text(encoding="utf-8")
    with Path(os.devnull).open("w", encoding="utf-8") as nothing:
        nothing.write("x")
    listening = socket.create_server(("127.0.0.1", 0))
    socket.create_connection(listening.getsockname()).close()
    listening.close()
    assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=True).stdout.strip() == b"1"
    assert guarded.tried == []


def test_a_caught_attempt_fails_all_the_same(guarded: Guard) -> None:
    """``dependencies`` turns whatever an installation raises into a sentence; the guard remembers it."""
    try:
        subprocess.run([sys.executable, "-m", "pip", "uninstall", "-y", "torch"], check=False)
    except Exception as error:
        assert isinstance(error, Forbidden)
    assert len(guarded.tried) == 1 and "pip uninstall -y torch" in guarded.tried[0]
    guarded.tried.clear()


def test_what_a_test_starts_has_a_home_of_its_own_and_no_way_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    code = ("import os, pathlib, tempfile, urllib.request\n"
            "print(pathlib.Path.home(), tempfile.gettempdir(), sep='\\n')\n"
            "try:\n  urllib.request.urlopen('http://192.0.2.1/', timeout=5)\n"
            "except OSError as error:\n  print(error.reason)")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    base = tmp_path_factory.getbasetemp().resolve()
    assert all(Path(folder).resolve().is_relative_to(base) for folder in said[:2])
    assert "refused" in said[2]


def test_this_process_reaches_nobody_by_a_proxy() -> None:
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen("http://192.0.2.1/", timeout=5)
