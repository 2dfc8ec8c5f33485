"""Reading the voxels that a text header announces: no more than it says, and from its own folder alone, or below it."""

from __future__ import annotations

import bz2
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.room import require_room
from SAMoraLib.volume.text_header import TextHeader, named_files

# Bytes of a packed file that are read at once, and of what comes out of them: with an eighth, 1.08 times as long.
CHUNK, BLOCK = 1 << 21, 1 << 23
GZIP_OR_ZLIB = 47  # for zlib: by its first bytes
GZIP = b"\x1f\x8b"
RAW, DEFLATED, BZIP2, TEXT, HEX = "raw", "deflated", "bzip2", "text", "hex"
AT_THE_END = -1
LONGEST_NUMBER = 40  # letters, in text
LISTED = 120  # bytes that a number of a text takes at most, while it is read
LONGEST_NAME = 80  # shown


@dataclass(frozen=True)
class Stored:
    """How voxels lie in files.

    Attributes:
        sizes: of the axes, the fastest first.
        kind: of a voxel, with its byte order.
        encoding: RAW, DEFLATED (gzip or zlib), BZIP2, TEXT or HEX.
        header_end: bytes that the header takes in its own file, which the voxels follow; None: they lie elsewhere.
        skip: bytes to leave out before the voxels, unpacked; AT_THE_END: the voxels are the last, unpacked.
        lines: to leave out before that, of the file as it is.
    """

    sizes: Sequence[int]
    kind: np.dtype
    encoding: str
    header_end: int | None
    skip: int = 0
    lines: int = 0

    @property
    def count(self) -> int:
        count = 1
        for size in self.sizes:
            count *= size
        return count

    @property
    def nbytes(self) -> int:
        return self.count * self.kind.itemsize


def require_beside(header: TextHeader) -> list[Path]:
    """The files that hold a header's voxels, none where it holds them itself; where the header is given by a link, also
    beside what it leads to.

    Raises:
        ValueError: one is no plain file in the header's own folder or below, or is a link that leads out of it.
    """
    path, files = header.path, named_files(header)
    if files and path.is_symlink() and not os.path.lexists(files[0]):
        path = path.resolve()
        files = named_files(replace(header, path=path))
    homes = {path.parent.resolve(), path.resolve().parent}
    for file in files:
        if not (_is_below(file, path.parent) and _is_file(file) and homes & {*file.resolve().parents}):
            name = one_line(file.name[:LONGEST_NAME])
            raise ValueError(f"The voxels of '{path.name}' lie in '{name}', which is no file beside it or in a folder "
                             "below; put both into one folder again.")
    return files


def _is_below(file: Path, folder: Path) -> bool:
    """By its name: no way up, also none that comes down again, and none from the root."""
    return file.is_relative_to(folder) and ".." not in file.relative_to(folder).parts


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # no file has so long a name
        return False


def read_stored(header: TextHeader, stored: Stored) -> np.ndarray:
    """(..., k, j, i) in the machine's byte order.

    Raises:
        ValueError: the files are fewer or shorter than announced, damaged, or not beside the header; or memory is too
            small for what is announced.
    """
    path = header.path
    files = [path] if stored.header_end is not None else require_beside(header)
    if not files or stored.count % len(files):
        raise ValueError(f"The voxels of '{path.name}' cannot lie in {len(files)} files of one size; export it again.")
    if stored.encoding == RAW:
        _require_length(path.name, files, stored)
    require_room(path.name, _most_bytes(stored))
    array = np.empty(stored.count, stored.kind)
    for file, part in zip(files, array.reshape(len(files), -1), strict=True):
        try:
            with file.open("rb") as opened:
                filled = _fill(part, opened, stored)
        except (zlib.error, OSError, EOFError, ValueError, OverflowError) as error:
            raise ValueError(f"'{path.name}' cannot be read; it is damaged or incomplete, so copy or export it "
                             "again.") from error
        if filled < part.nbytes:
            raise ValueError(_incomplete(path.name, filled, part.nbytes))
    return array.astype(stored.kind.newbyteorder("="), copy=False).reshape(tuple(stored.sizes)[::-1])


def _most_bytes(stored: Stored) -> int:
    """That are taken while it is read."""
    if stored.encoding == TEXT:
        return stored.count * LISTED
    is_looked_for = stored.skip == AT_THE_END and stored.encoding != RAW
    return stored.nbytes * (3 if is_looked_for else 1)


def _incomplete(name: str, found: int, wanted: int) -> str:
    return f"'{name}' cannot be read; it is incomplete, {found} bytes of {wanted}, so copy or export it again."


def _require_length(name: str, files: Sequence[Path], stored: Stored) -> None:
    """Before memory is taken for what is not there."""
    found = sum(max(0, file.stat().st_size - (stored.header_end or 0) - max(0, stored.skip)) for file in files)
    if found < stored.nbytes:
        raise ValueError(_incomplete(name, found, stored.nbytes))


def _skip_lines(file: BinaryIO, count: int) -> None:
    """No more than there are, however many a header says, and however long one is."""
    while count and (line := file.readline(BLOCK)):
        count -= line.endswith(b"\n")


def _fill(part: np.ndarray, file: BinaryIO, stored: Stored) -> int:
    """Bytes that were read."""
    file.seek(stored.header_end or 0)
    _skip_lines(file, stored.lines)
    if stored.encoding in (TEXT, HEX):
        file.seek(max(0, stored.skip), os.SEEK_CUR)
    if stored.encoding == TEXT:
        return _fill_from_text(part, file.read(part.size * LONGEST_NUMBER))
    view = part.view(np.uint8).data
    if stored.encoding == HEX:
        return _copy(view, _from_hex(file))
    if stored.encoding == RAW:
        file.seek(-part.nbytes, os.SEEK_END) if stored.skip == AT_THE_END else file.seek(stored.skip, os.SEEK_CUR)
        return file.readinto(view)  # type: ignore[attr-defined]
    blocks = _unpacked(file, stored.encoding)
    return _copy(view, _ahead(_last(len(view), blocks) if stored.skip == AT_THE_END else _after(stored.skip, blocks)))


def _fill_from_text(part: np.ndarray, text: bytes) -> int:
    """Bytes of the numbers between blanks or commas.

    Raises:
        ValueError: one is no number, or there are more than wanted, so that commas may be those of decimals.
    """
    words = text.replace(b",", b" ").split(None, part.size)
    if b"," in text and len(words) > part.size:
        raise ValueError("more numbers than voxels")
    numbers = np.array(words[:part.size]).astype(part.dtype)
    part[:len(numbers)] = numbers
    return numbers.nbytes


def _from_hex(file: BinaryIO) -> Iterator[bytes]:
    digits = b""
    while data := file.read(CHUNK):
        digits += b"".join(data.split())
        pairs = len(digits) // 2 * 2
        yield bytes.fromhex(digits[:pairs].decode("ascii"))
        digits = digits[pairs:]


def _copy(view: memoryview, blocks: Iterator[bytes]) -> int:
    filled = 0
    for block in blocks:
        if filled == len(view):
            break  # what else a file holds is not asked for
        part = block[:len(view) - filled]
        view[filled:filled + len(part)] = part
        filled += len(part)
    return filled


def _ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Each block while the next is unpacked in a thread."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = thread.submit(next, blocks, None)
            yield block


def _after(skip: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        yield block[skip:]
        skip = max(0, skip - len(block))


def _last(count: int, blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The last bytes, of which alone are kept as many while the end is looked for."""
    kept = bytearray()
    for block in blocks:
        kept += block
        del kept[:-count]
    yield bytes(kept)


def _unpacked(file: BinaryIO, encoding: str) -> Iterator[bytes]:
    """In blocks, however much a small file unpacks to."""
    return _inflated(file) if encoding == DEFLATED else iter(partial(bz2.BZ2File(file).read, BLOCK), b"")


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """What one or more streams of gzip, or one of zlib, hold.

    Raises:
        EOFError, zlib.error: the last has no end, or not its checksum.
    """
    data = file.read(CHUNK)
    while data:
        stream = zlib.decompressobj(GZIP_OR_ZLIB)
        while data and not stream.eof:
            yield stream.decompress(data, BLOCK)
            # At its end a stream may name what follows as unconsumed too.
            data = stream.unused_data if stream.eof else stream.unconsumed_tail or file.read(CHUNK)
        if not stream.eof:
            raise EOFError("the packed voxels have no end")
        if len(data) < len(GZIP):
            data += file.read(CHUNK)
        if not data.startswith(GZIP):
            return
