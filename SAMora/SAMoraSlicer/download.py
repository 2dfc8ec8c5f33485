"""Fetch one file: resumed, checked by size and SHA-256, never put in place wrong or half (standard library only).

Run as a program it prints JSON lines, so that the panel can end it at any moment, even while a server keeps silent:
``python download.py --to FILE --size BYTES --sha256 HEX URL...``
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from SAMoraLib.system.parent import run_as_child

BLOCK = 1 << 18
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # in a row that bring nothing new, for one address
DONE, REFUSED = 0, 1

Progress = Callable[[int, int], None]  # bytes there, bytes in all


class Unreachable(Exception):
    """One address failed; the next may serve."""


class Cut(Exception):
    """A connection ended early; the same address may go on."""


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
    part = target.with_name(target.name + ".part")
    _make_room(part, size)
    problem: Exception | None = None
    for url in urls:
        try:
            _fetch(url, part, size, progress or (lambda there, total: None))
            _check(part, size, sha256, url)
            part.replace(target)
            return target
        except Unreachable as error:
            problem = ConnectionError(str(error))
        except ValueError as error:
            part.unlink(missing_ok=True)
            problem = error
        except OSError as error:
            raise _not_written(target, error) from error
    raise problem or ValueError(f"There is no address for '{target.name}'; install the model from a file.")


def _make_room(part: Path, size: int) -> None:
    """Refuse before the first byte what would fill the disk."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and part.stat().st_size > size:
            part.unlink()  # of an older version of the model
        needed = size - (part.stat().st_size if part.exists() else 0)
        free = shutil.disk_usage(part.parent).free
    except OSError as error:
        raise _not_written(part.with_suffix(""), error) from error
    if needed > free:
        raise OSError(f"The disk of '{part.parent}' has {free / 1e6:.1f} MB left and the model needs "
                      f"{needed / 1e6:.1f} MB; free some space or choose another models folder.")


def _not_written(target: Path, error: OSError) -> OSError:
    return OSError(f"'{target.name}' could not be written to '{target.parent}' ({error.strerror or error}); check that "
                   "the disk has room and that the folder may be written to, or choose another models folder.")


def _fetch(url: str, part: Path, size: int, progress: Progress) -> None:
    """Bring ``part`` to ``size`` bytes; a cut connection is taken up again where it broke."""
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in ("http", "https"):
        raise Unreachable(f"'{url}' is not a web address; correct the list of models.")
    failures, reason = 0, ""
    while (there := _length(part)) < size:
        if failures == ATTEMPTS:
            raise Unreachable(f"{host} cannot be read ({reason}); check the network or the proxy and try again, which "
                              "goes on where it stopped, or install the model from a file.")
        try:
            _read_on(url, part, there, size, progress)
            reason = "the connection was cut"
        except Cut as error:
            reason = str(error)
        failures = 0 if _length(part) > there else failures + 1
    progress(size, size)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _read_on(url: str, part: Path, there: int, size: int, progress: Progress) -> None:
    with _open(url, there) as answer:
        if there and not _goes_on_at(answer, there):
            there = 0  # the server knows no ranges: from the start
        with part.open("ab" if there else "wb") as file:
            while there <= size and (block := _block(answer)):
                file.write(block)
                there += len(block)
                progress(min(there, size), size)


def _open(url: str, there: int) -> http.client.HTTPResponse:
    host = urlsplit(url).hostname
    request = urllib.request.Request(url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise ValueError(f"{host} has a shorter file than the model; update the module, or install the model from "
                             "a file.") from error
        raise Unreachable(f"{host} refused the model ({error.code} {error.reason}); try again later, or install the "
                          "model from a file.") from error
    except (OSError, http.client.HTTPException) as error:
        raise Cut(getattr(error, "reason", error)) from error


def _block(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read(BLOCK)
    except (OSError, http.client.HTTPException) as error:  # told apart from errors of the disk
        raise Cut(error) from error


def _goes_on_at(answer: http.client.HTTPResponse, there: int) -> bool:
    said = answer.headers.get("Content-Range", "")
    return answer.status == http.client.PARTIAL_CONTENT and said.startswith(f"bytes {there}-")


def _check(part: Path, size: int, sha256: str, url: str) -> None:
    digest = hashlib.sha256()
    with part.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if part.stat().st_size != size or digest.hexdigest() != sha256:
        raise ValueError(f"{urlsplit(url).hostname} sent another file than the model (sha256 "
                         f"{digest.hexdigest()[:12]} instead of {sha256[:12]}); it was deleted, so update the module, "
                         "or install the model from a file.")


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
