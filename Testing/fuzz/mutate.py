"""Inputs from good files: the same seed, format and number give the same bytes. Changes that need no format are here.

An input is a few files of a folder; a change takes the bytes of one of them and gives others.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

Files = Mapping[str, bytes]  # path below the input's folder -> content
Change = Callable[[Random, bytes], bytes]

NAN, INFINITY = float("nan"), float("inf")
NUMBERS = (0, -1, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 10**6, 2**31 - 1, 2**31,
           2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -2, -32768, -2**31, -2**63, 0.5, -0.5, 1e-30,
           1e-320, 1e30, 1e39, 1e308, NAN, INFINITY, -INFINITY)
MARK = "executed"  # a folder that code in an input would make beside it
TEXTS = ("", " ", "\0", "a\0b", "%n%s%s%n", "%99999999d", "{0.__class__}", "<b>x</b><img src='file:///dev/zero'>",
         "\x1b[31mred\x1b]0;title\x07", "../../../etc/passwd", "/dev/zero", "/etc/passwd", ".", "..", "a\nb", "\r\n",
         "'\"`$(touch x)", '=HYPERLINK("http://127.0.0.1:9")', "\u202e\ufeff\u00e9", "NaN", "nan", "inf", "1e999", "-0",
         "0x10", "1 2 3", "-1", "none", "null", "true", "9" * 400, "x" * 300, "x" * 5000, "ä" * 1000, "( , , )",
         "\ufffe", "1_000", "٣", "CON", "a/b", "--to=x", "http://[::1", "a b c d")
ZEROS = 64 << 20  # bytes of which a small file becomes when it is unpacked
MOST_COPIES = 1000


@dataclass(frozen=True)
class Mutant:
    """One input.

    Attributes:
        files: what is read; of what is made anew the entry first.
        seed: the good files that it was made from.
        how: the names of the changes.
    """

    files: Files
    seed: Files
    how: tuple[str, ...]

    def write(self, folder: Path) -> None:
        """Put the files into a folder."""
        write_files(self.files, folder)


def write_files(files: Files, folder: Path) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def make(key: str, seeds: Sequence[Files], changes: Sequence[Change]) -> Mutant:
    """The input of that key: one to three changes of one of the seeds."""
    random = Random(key)
    seed = random.choice(seeds)
    files, how = dict(seed), []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if len(files) > 1 and random.random() < 0.03:
            files = exchange_files(random, files)
            how.append(exchange_files.__name__)
            continue
        change = random.choice(changes)
        name = next(iter(files)) if random.random() < 0.5 else random.choice(list(files))
        files[name], done = changed(random, change, files[name])
        how.append(done)
    return Mutant(files, seed, tuple(how))


def changed(random: Random, change: Change, data: bytes) -> tuple[bytes, str]:
    """Changed bytes, and by what: an earlier change may have left nothing of the format, so that only bits are left."""
    try:
        return change(random, data), change.__name__
    except Exception:
        return flip_bits(random, data), flip_bits.__name__


def exchange_files(random: Random, files: Files) -> dict[str, bytes]:
    """One file is gone, or has another's content."""
    first, second = random.sample(list(files), 2)
    if random.random() < 0.5:
        return {name: content for name, content in files.items() if name != first}
    return {**files, first: files[second]}


def flip_bits(random: Random, data: bytes) -> bytes:
    """A few bits, half of the time near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))) if data else ():
        changed[_place(random, data)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwrite_number(random: Random, data: bytes) -> bytes:
    """One to eight bytes become a number that programs stumble over."""
    size = random.choice((1, 2, 4, 8))
    value = random.choice((0, 1, -1, 0x7F, 0x80, 0x7FFF, 0x8000, 0x7FFFFFFF, 0x80000000, 2**63 - 1, 2**63))
    start = _place(random, data)
    number = (value % (1 << 8 * size)).to_bytes(size, random.choice(("little", "big")))
    return data[:start] + number + data[start + size:]


def cut_short(random: Random, data: bytes) -> bytes:
    return data[:random.choice((_place(random, data), random.randrange(len(data) + 1), max(0, len(data) - 1)))]


def extend(random: Random, data: bytes) -> bytes:
    """Something stands behind the end."""
    return data + random.choice((b"\0", b"\n", random.randbytes(random.randrange(1, 600)), data[-512:]))


def splice(random: Random, data: bytes) -> bytes:
    """A block is left out, doubled, or stands in another one's place."""
    start = _place(random, data)
    length = random.choice((1, 4, 16, 80, 512))
    block = data[start:start + length]
    target = _place(random, data)
    return random.choice((data[:start] + data[start + length:], data[:start] + block + data[start:],
                          data[:target] + block + data[target + length:],
                          data[:start] + block * random.choice((3, 50, MOST_COPIES)) + data[start:]))


def insert_text(random: Random, data: bytes) -> bytes:
    start = _place(random, data)
    return data[:start] + hostile_bytes(random) + data[start:]


def hostile_bytes(random: Random) -> bytes:
    return random.choice((random.choice(TEXTS).encode(), str(random.choice(NUMBERS)).encode(), b"\xff\xfe\x80",
                          random.randbytes(9)))


def append_bomb(random: Random, data: bytes) -> bytes:
    """Another member of a gzip file, a thousand times as large when it is unpacked; seldom, for that takes its time."""
    return data + packed_zeros() if random.random() < 0.2 else extend(random, data)


@cache
def packed_zeros() -> bytes:
    return gzip.compress(bytes(ZEROS), mtime=0)


def unpacked(change: Change) -> Change:
    """A change of what a gzip file holds."""
    def within(random: Random, data: bytes) -> bytes:
        return gzip.compress(change(random, gzip.decompress(data)), 1, mtime=0)

    within.__name__ = f"{change.__name__}_unpacked"
    return within


BYTES: tuple[Change, ...] = (flip_bits, overwrite_number, cut_short, extend, splice, insert_text)


def _place(random: Random, data: bytes) -> int:
    near = min(len(data), 400)
    return random.randrange(max(1, near if random.random() < 0.5 else len(data)))
