"""Fetch one file: resumed, checked by size and SHA-256, never put in place wrong or half (standard library only).

Neither the server nor whoever shares the folder is trusted: no more is taken than the size that was named, an address
never leads from https elsewhere, and what has come is written to a file of ours alone, never through a link.

Run as a program it prints JSON lines, so that the panel can end it at any moment, even while a server keeps silent:
``python download.py --to FILE --size BYTES --sha256 HEX URL...``
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import string
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from SAMoraLib.system.parent import run_as_child
from SAMoraLib.system.streams import one_line

PART = ".part"
BLOCK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # in a row that bring too little, for one address
WAIT = 1.0  # seconds after the first of them, twice as many after each further one
ENOUGH = 4 << 20  # bytes of a connection, or a hundredth of the file: less is as good as nothing
SLOWEST, PATIENCE = 1000, 60.0  # bytes a second that a connection brings at least, and seconds before this is looked at
REDIRECTIONS = 5
REDIRECTED = (301, 302, 303, 307, 308)
LONGEST_ADDRESS, LONGEST_REASON = 2000, 100  # letters
DONE, REFUSED = 0, 1
ADDRESS = re.compile(r"https?://[!-~]+")  # ASCII without blanks: what a request's first line may hold

Progress = Callable[[int, int], None]  # bytes there, bytes in all


class Unreachable(Exception):
    """One address failed; the next may serve."""


class Cut(Exception):
    """A connection ended early; the same address may go on."""


def is_web_address(text: object) -> bool:
    """Whether a file can be fetched from there: http or https, a host, no name and password, nothing unprintable."""
    if not isinstance(text, str) or len(text) > LONGEST_ADDRESS or not ADDRESS.fullmatch(text):
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that is no number
        return False


def download(urls: Sequence[str], target: Path, size: int, sha256: str, progress: Progress | None = None) -> Path:
    """Fetch a file, going on with ``target`` + ".part" if an earlier attempt left it.

    Args:
        urls: http or https addresses of the same file, tried in order.
        size: bytes.
        sha256: hexadecimal.

    Raises:
        ConnectionError: no address could be read to the end; what has come is kept for the next attempt.
        ValueError: every address gave another file than the one described.
        OSError: the folder cannot be written to, or the disk is full.
    """
    part = target.with_name(target.name + PART)
    if not urls:
        raise ValueError(f"There is no address for '{target.name}'; install the model from a file.")
    _make_room(part, size)
    try:
        with _unfinished(part) as file:
            problem = _fetch_from_one_of(urls, file, size, sha256, progress or (lambda there, total: None))
            checked = os.fstat(file.fileno())
        if problem is None:
            _put_in_place(part, target, checked)
    except OSError as error:
        raise _not_written(target, error) from error
    if problem is not None:
        raise problem
    return target


def part_bytes(part: Path) -> int:
    """How much of a file an earlier attempt has left; 0 where what lies there is not to be gone on with."""
    try:
        facts = part.lstat()
    except OSError:
        return 0
    return facts.st_size if _is_ours(facts) else 0


def _is_ours(facts: os.stat_result) -> bool:
    """Whether it is a plain file of this user with one name: what is written to it changes nothing else."""
    user = os.geteuid() if hasattr(os, "geteuid") else facts.st_uid
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1 and facts.st_uid == user


@contextmanager
def _unfinished(part: Path) -> Iterator[BinaryIO]:
    """The file to fetch into; none is left where nothing came.

    What has come is asked of the open file: some network folders show every file as another user's.
    """
    there = 0
    try:
        with _open_part(part) as file:
            try:
                yield file
            finally:
                there = _length(file)
    finally:
        if not there:
            part.unlink(missing_ok=True)


def _open_part(part: Path) -> BinaryIO:
    """The unfinished file, to go on with or new; whatever else has its name goes, and what links lead to stays."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not part_bytes(part):
        part.unlink(missing_ok=True)
        return os.fdopen(os.open(part, flags | os.O_CREAT | os.O_EXCL, 0o666), "r+b")
    file = os.fdopen(os.open(part, flags), "r+b")
    if not _is_ours(os.fstat(file.fileno())):
        file.close()
        raise OSError("another program has exchanged the unfinished file")
    return file


def _make_room(part: Path, size: int) -> None:
    """Refuse before the first byte what would fill the disk."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if part_bytes(part) > size:
            part.unlink()  # of an older version of the model
        needed = size - part_bytes(part)
        free = shutil.disk_usage(part.parent).free
    except OSError as error:
        raise _not_written(part.with_suffix(""), error) from error
    if needed > free:
        raise OSError(f"The disk of '{part.parent}' has {free / 1e6:.1f} MB left and the model needs "
                      f"{needed / 1e6:.1f} MB; free some space or choose another models folder.")


def _not_written(target: Path, error: OSError) -> OSError:
    return OSError(f"'{target.name}' could not be written to '{target.parent}' ({error.strerror or error}); check that "
                   "the disk has room and that the folder may be written to, or choose another models folder.")


def _put_in_place(part: Path, target: Path, checked: os.stat_result) -> None:
    if not os.path.samestat(part.lstat(), checked):
        raise OSError("another program has exchanged the unfinished file")
    part.replace(target)


def _fetch_from_one_of(urls: Sequence[str], file: BinaryIO, size: int, sha256: str,
                       progress: Progress) -> Exception | None:
    """Bring ``file`` to ``size`` bytes, the right ones, which gives None; else what is wrong with the last address."""
    problem: Exception | None = None
    for url in urls:
        try:
            _fetch(url, file, size, progress)
            _check(file, size, sha256, url)
            return None
        except Unreachable as error:
            problem = ConnectionError(str(error))
        except ValueError as error:
            file.seek(0)
            file.truncate()
            problem = error
    return problem


def _fetch(url: str, file: BinaryIO, size: int, progress: Progress) -> None:
    """Bring ``file`` to ``size`` bytes; a cut connection is taken up again where it broke.

    So often as connections bring enough: a server that cuts them after a few bytes is not asked without end.
    """
    if not is_web_address(url):
        raise Unreachable(f"'{_said(url)}' is not a web address; correct the list of models.")
    failures, reason, most = 0, "", _length(file)
    while (there := _length(file)) < size:
        if failures == ATTEMPTS:
            raise Unreachable(f"{_host(url)} cannot be read ({reason}); check the network or the proxy and try again, "
                              "which goes on where it stopped, or install the model from a file.")
        if failures:
            time.sleep(WAIT * 2 ** (failures - 1))
        try:
            _read_on(url, file, there, size, progress)
            reason = "the connection was cut"
        except Cut as error:
            reason = _said(error)
        failures = 0 if _length(file) >= most + max(1, min(ENOUGH, size // 100)) else failures + 1
        most = max(most, _length(file))
    progress(size, size)


def _length(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _said(words: object) -> str:
    """What a server or a list says, on a line."""
    return one_line(str(words))[:LONGEST_REASON]


def _read_on(url: str, file: BinaryIO, there: int, size: int, progress: Progress) -> None:
    with _open(url, there) as answer:
        there = start = _start(answer, url, there, size)
        started = time.monotonic()
        file.seek(there)
        file.truncate()
        while there <= size and (block := _block(answer, size + 1 - there)):
            file.write(block)
            file.flush()
            there += len(block)
            progress(min(there, size), size)
            seconds = time.monotonic() - started
            if seconds > PATIENCE and there - start < SLOWEST * seconds:  # a byte in time would never end
                raise Cut("it sends too slowly")


def _open(url: str, there: int) -> http.client.HTTPResponse:
    """The answer of an address, or of that to which it leads."""
    place = url
    for _ in range(REDIRECTIONS + 1):
        answer = _ask(place, there)
        if not isinstance(answer, str):
            return answer
        if not is_web_address(answer) or (place.startswith("https:") and not answer.startswith("https:")):
            raise Unreachable(f"{_host(url)} leads to '{_said(answer)}', which is no address as safe as its own; "
                              "install the model from a file.")
        place = answer
    raise Unreachable(f"{_host(url)} leads from one address to the next; install the model from a file.")


def _ask(url: str, there: int) -> http.client.HTTPResponse | str:
    """The answer of an address, or another address to ask."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        return _opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            return _redirected(url, error)
    except (OSError, http.client.HTTPException) as error:
        raise Cut(getattr(error, "reason", error)) from error
    except UnicodeError as error:  # a host that cannot be one
        raise Unreachable(f"'{_said(url)}' is not a web address; correct the list of models.") from error


def _opener() -> urllib.request.OpenerDirector:
    """For http and https, by way of the proxies that are set. It follows no redirection: urllib's reads without end."""
    opener = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler,
                    urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


def _redirected(url: str, answer: urllib.error.HTTPError) -> str:
    """Where a server leads to, instead of answering."""
    place = answer.headers.get("Location", "")
    if answer.code in REDIRECTED and place:
        return _joined(url, quote(place, safe=string.punctuation, encoding="iso-8859-1"))
    if answer.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise ValueError(f"{_host(url)} has a shorter file than the model; update the module, or install the model "
                         "from a file.")
    raise Unreachable(f"{_host(url)} refused the model ({answer.code} {_said(answer.reason)}); try again later, or "
                      "install the model from a file.")


def _joined(url: str, place: str) -> str:
    try:
        return urljoin(url, place)
    except ValueError:  # half an IPv6 address
        return place


def _start(answer: http.client.HTTPResponse, url: str, there: int, size: int) -> int:
    """At which byte of the file an answer begins, where it is one that can be taken."""
    packed = answer.headers.get("Content-Encoding", "identity").strip().lower()
    told = answer.headers.get("Content-Range", "")
    if answer.status == http.client.PARTIAL_CONTENT:
        start = there if told.startswith(f"bytes {there}-") else None
    else:
        start = 0 if answer.status == http.client.OK else None  # 200: the server knows no ranges
    if start is None or packed not in ("", "identity"):
        raise Unreachable(f"{_host(url)} did not send the model's bytes ({answer.status}, {_said(told or packed)}); "
                          "install the model from a file.")
    if answer.length is not None and start + answer.length != size:
        raise ValueError(f"{_host(url)} sent another file than the model ({start + answer.length} bytes instead of "
                         f"{size}); update the module, or install the model from a file.")
    return start


def _block(answer: http.client.HTTPResponse, most: int) -> bytes:
    try:
        return answer.read1(min(BLOCK, most))
    except (OSError, http.client.HTTPException) as error:  # told apart from errors of the disk
        raise Cut(error) from error


def _check(file: BinaryIO, size: int, sha256: str, url: str) -> None:
    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(BLOCK):
        digest.update(block)
    if _length(file) != size or digest.hexdigest() != sha256:
        raise ValueError(f"{_host(url)} sent another file than the model (sha256 {digest.hexdigest()[:12]} instead of "
                         f"{sha256[:12]}); it was deleted, so update the module, or install the model from a file.")


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; returns 0, 1 after an ``error`` event, or 130 where it was told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--sha256", required=True)
    options = parser.parse_args(arguments)
    return run_as_child(partial(_fetch_and_tell, options))


def _fetch_and_tell(options: argparse.Namespace) -> int:
    said = -1

    def progress(there: int, total: int) -> None:
        nonlocal said
        if (percent := 100 * there // total) != said:
            said = percent
            _say("progress", fraction=there / total, stage="downloading")

    try:
        path = download(options.urls, options.to, options.size, options.sha256, progress)
    except (ValueError, OSError) as error:
        _say("error", message=str(error))
        return REFUSED
    _say("result", output=str(path))
    return DONE


def _say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
