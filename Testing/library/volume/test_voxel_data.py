"""Voxels come from plain files beside their header, as many as it announces, and nothing else is opened or kept."""

from __future__ import annotations

import bz2
import gzip
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume import voxel_data
from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.text_header import TextHeader
from SAMoraLib.volume.voxel_data import AT_THE_END, BZIP2, DEFLATED, HEX, RAW, TEXT, Stored, read_stored
from Testing.folders import ROOT
from Testing.library.volume.test_text_header import VOXELS, meta, nrrd
from Testing.refusals import refusal

ZEROS = bytes(1 << 28)  # many times what the headers here announce
HEADERS = pytest.mark.parametrize("ending", ["nhdr", "mhd"])


def detached(path: Path, where: str) -> Path:
    """A header that names where its voxels lie."""
    if path.suffix == ".nhdr":
        header = nrrd(path).read_bytes().partition(b"\n\n")[0] + f"\ndata file: {where}\n".encode()
    else:
        header = meta(path).read_bytes().partition(b"LOCAL\n")[0] + f"{where}\n".encode()
    path.write_bytes(header)
    return path


def outside(folder: Path) -> tuple[Path, Path]:
    """A folder for headers, and a file outside that nobody may read by them."""
    (folder / "inside/below").mkdir(parents=True)
    for name in ("secret.raw", "inside/below/secret.raw"):
        (folder / name).write_bytes(VOXELS.tobytes())
    return folder / "inside", folder / "secret.raw"


@HEADERS
@pytest.mark.parametrize("where", ["../secret.raw", "{}", "below/../../secret.raw", "./../secret.raw",
                                   "LIST\n../secret.raw", "LIST\n{}", "../secret%.0d.raw 0 0 1", "out/secret.raw",
                                   "below/out.raw", "below/../below/secret.raw", "below", "a" * 5000])
def test_voxels_lie_in_the_headers_own_folder(tmp_path: Path, ending: str, where: str) -> None:
    inside, secret = outside(tmp_path)
    (inside / "out").symlink_to(tmp_path)
    (inside / "below/out.raw").symlink_to(secret)
    path = detached(inside / f"v.{ending}", where.format(secret))
    assert "which is no file beside it" in refusal(lambda: read_volume(path))


@HEADERS
@pytest.mark.parametrize("where", ["below/secret.raw", "./below/secret.raw", "LIST\nbelow/secret.raw",
                                   "below/secret%.0d.raw 0 0 1", "link/secret.raw"])
def test_voxels_may_lie_in_a_folder_below(tmp_path: Path, ending: str, where: str) -> None:
    inside, _ = outside(tmp_path)
    (inside / "link").symlink_to("below")
    (inside / "below/secret0.raw").write_bytes(VOXELS.tobytes())
    assert np.array_equal(read_volume(detached(inside / f"v.{ending}", where)).array, VOXELS)


@HEADERS
def test_a_link_leads_nowhere_else(tmp_path: Path, ending: str) -> None:
    inside, secret = outside(tmp_path)
    (inside / "v.raw").symlink_to(secret)
    path = detached(inside / f"v.{ending}", "v.raw")
    assert "which is no file beside it" in refusal(lambda: read_volume(path))
    (inside / "v.raw").unlink()
    (inside / "real.raw").write_bytes(VOXELS.tobytes())
    (inside / "v.raw").symlink_to(inside / "real.raw")
    assert np.array_equal(read_volume(path).array, VOXELS)


@HEADERS
@pytest.mark.parametrize("linked", [["v.{}"], ["v.{}", "v.raw"]])
def test_a_header_by_a_link_is_read_with_what_lies_beside_it(tmp_path: Path, ending: str, linked: list[str]) -> None:
    store, links = tmp_path / "store", tmp_path / "links"
    store.mkdir()
    links.mkdir()
    (store / "v.raw").write_bytes(VOXELS.tobytes())
    detached(store / f"v.{ending}", "v.raw")
    for name in (name.format(ending) for name in linked):
        (links / name).symlink_to(store / name)
    assert np.array_equal(read_volume(links / f"v.{ending}").array, VOXELS)


@HEADERS
@pytest.mark.parametrize("pattern", ["%s%n%s%n%d.raw 1 3 1", "%n.raw 1 3 1", "%s", "%99999999999d.raw 1 1 1",
                                     "%.999999999d 1 1 1", "s%d.raw 3 1 1", "%d%d%d%s 1 3 1"])
def test_a_pattern_is_no_format(tmp_path: Path, ending: str, pattern: str) -> None:
    """ITK hands it to C's printf, and ends the process."""
    path = detached(tmp_path / f"v.{ending}", pattern)
    for number in range(1, 4):
        (tmp_path / f"%s%n%s%n{number}.raw").write_bytes(VOXELS[number - 1].tobytes())
    try:
        assert np.array_equal(read_volume(path).array, VOXELS)
    except ValueError as error:
        assert len(str(error)) < 300


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in folders")
@pytest.mark.timeout(20)
@HEADERS
def test_pipes_and_devices_are_not_opened(tmp_path: Path, ending: str) -> None:
    os.mkfifo(tmp_path / "v.raw")
    (tmp_path / "zero.raw").symlink_to("/dev/zero")
    for where in ("v.raw", "LIST\nv.raw", "zero.raw", "/dev/zero", "."):
        path = detached(tmp_path / f"v.{ending}", where)
        assert "which is no file beside it" in refusal(lambda path=path: read_volume(path))


@pytest.mark.parametrize(("encoding", "packed"), [("gzip", gzip.compress), ("bzip2", bz2.compress)])
def test_no_more_is_unpacked_than_is_announced(tmp_path: Path, encoding: str, packed) -> None:
    path = nrrd(tmp_path / "v.nrrd", encoding=encoding)
    header = path.read_bytes().partition(b"\n\n")[0]
    path.write_bytes(header + b"\n\n" + packed(ZEROS))
    assert peak_growth(path) < len(ZEROS) // 4


def test_no_more_is_inflated_than_a_metaimage_announces(tmp_path: Path) -> None:
    path = meta(tmp_path / "v.mha", BinaryData="True", CompressedData="True")
    path.write_bytes(path.read_bytes()[:-VOXELS.nbytes] + zlib.compress(ZEROS))
    assert peak_growth(path) < len(ZEROS) // 4


def peak_growth(path: Path) -> int:
    """Bytes by which reading makes a process larger."""
    code = ("import resource, sys; from pathlib import Path; from SAMoraLib.volume.io import read_volume;"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; read_volume(Path(sys.argv[1]));"
            "print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))")
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT)})
    return int(ended.stdout)


@pytest.mark.parametrize("make", [lambda folder, sizes: nrrd(folder / "v.nrrd", sizes=sizes),
                                  lambda folder, sizes: meta(folder / "v.mha", DimSize=sizes)])
def test_memory_is_not_taken_for_what_is_not_there(tmp_path: Path, make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory is taken"))
    path = make(tmp_path, "9000 9000 900")
    assert "is incomplete, 120 bytes of 145800000000" in refusal(lambda: read_volume(path))


def test_what_memory_does_not_hold_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                    ) -> None:
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory is taken"))
    path = nrrd(tmp_path / "v.nrrd", encoding="gzip", sizes="900000 900000 900")
    assert "To read 'v.nrrd' takes 1357868.3 GiB" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("cut", [1, 4, 9, 40])
@pytest.mark.parametrize("level", [0, 9])
def test_packed_voxels_without_their_end_are_refused(tmp_path: Path, cut: int, level: int) -> None:
    """Also where only the checksum is missing."""
    path = nrrd(tmp_path / "v.nrrd", encoding="gzip")
    path.write_bytes(path.read_bytes()[:-VOXELS.nbytes] + gzip.compress(VOXELS.tobytes(), level)[:-cut])
    assert "damaged or incomplete" in refusal(lambda: read_volume(path))


def test_a_cut_file_is_told_of_in_one_sentence_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """No library adds lines of its own."""
    for path in (meta(tmp_path / "v.mha"), nrrd(tmp_path / "v.nrrd")):
        path.write_bytes(path.read_bytes()[:-1])
        assert refusal(lambda path=path: read_volume(path)) == (
            f"'{path.name}' cannot be read; it is incomplete, 119 bytes of 120, so copy or export it again.")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", [b"1 2 x", b"1e999 " * 60, b"\x00" * 60, b"99999999999999999999 " * 60, b""])
def test_text_that_is_no_numbers_is_refused(tmp_path: Path, text: bytes) -> None:
    path = nrrd(tmp_path / "v.nrrd", encoding="text")
    path.write_bytes(path.read_bytes()[:-VOXELS.nbytes] + text)
    assert "'v.nrrd'" in refusal(lambda: read_volume(path))


def test_files_that_do_not_share_the_voxels_evenly_are_refused(tmp_path: Path) -> None:
    for name in "1234567":
        (tmp_path / name).write_bytes(VOXELS.tobytes())
    path = detached(tmp_path / "v.mhd", "LIST\n" + "\n".join("1234567"))
    assert "7 files of one size" in refusal(lambda: read_volume(path))


def stored(path: Path, data: bytes, encoding: str, **how: int) -> np.ndarray:
    """What is read of a file without a header."""
    path.write_bytes(data)
    return read_stored(TextHeader(path, {}, "", 0),
                       Stored((5, 4, 3), np.dtype("<i2"), encoding, how.pop("header_end", 0), **how))


RAW_BYTES, HEAD = VOXELS.tobytes(), bytes(range(100, 120))
NUMBERS = " ".join(map(str, VOXELS.ravel().tolist())).encode()


@pytest.mark.parametrize("encode", [
    (RAW, bytes), (DEFLATED, zlib.compress), (DEFLATED, gzip.compress), (BZIP2, bz2.compress),
    (DEFLATED, lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:])),
    (DEFLATED, lambda data: gzip.compress(data) + b"what follows"),
    (HEX, lambda data: data.hex("\n", 3).encode()), (HEX, lambda data: data.hex().encode() + b"\n00")],
    ids=["raw", "zlib", "gzip", "bzip2", "two", "followed", "hex", "longer-hex"])
@pytest.mark.parametrize("chunk", [7, 64])
@pytest.mark.parametrize(("head", "skip"), [(0, 0), (1, 1), (16, 16), (20, 20), (20, AT_THE_END)])
def test_voxels_are_the_same_in_pieces(tmp_path: Path, encode, chunk: int, head: int, skip: int,
                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """As of files that are larger than what is read at once."""
    monkeypatch.setattr(voxel_data, "CHUNK", chunk)
    monkeypatch.setattr(voxel_data, "BLOCK", 16)
    encoding, packed = encode
    if encoding == HEX:
        data, skip = b"x" * head + packed(RAW_BYTES), head
    else:
        data = packed(HEAD[:head] + RAW_BYTES)
    assert np.array_equal(stored(tmp_path / "v", b"12345" + data, encoding, header_end=5, skip=skip), VOXELS)


@pytest.mark.parametrize(("encoding", "head", "data"), [
    (RAW, b"", RAW_BYTES + b"more"), (DEFLATED, b"", zlib.compress(RAW_BYTES + b"more")), (TEXT, b"", NUMBERS + b" 7"),
    (TEXT, b"xy", NUMBERS), (RAW, b"a\n" + b"b" * 40 + b"\n", RAW_BYTES)],
    ids=["raw", "zlib", "text", "skip", "lines"])
def test_voxels_lie_between_what_is_left_out(tmp_path: Path, encoding: str, head: bytes, data: bytes,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voxel_data, "BLOCK", 16)
    lines = head.count(b"\n")
    how = {"lines": lines} if lines else {"skip": len(head)}
    assert np.array_equal(stored(tmp_path / "v", head + data, encoding, **how), VOXELS)


@pytest.mark.parametrize(("encoding", "skip", "expected"), [
    (RAW, 0, 120), (RAW, AT_THE_END, 120), (DEFLATED, 0, 120), (DEFLATED, 3, 120), (DEFLATED, AT_THE_END, 360),
    (BZIP2, AT_THE_END, 360), (HEX, 0, 120), (TEXT, 0, 7200)])
def test_memory_is_asked_for_what_reading_takes(tmp_path: Path, encoding: str, skip: int, expected: int,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ask(_: str, size: int) -> None:
        asked.append(size)
        raise ValueError("enough.")

    monkeypatch.setattr(voxel_data, "require_room", ask)
    assert refusal(lambda: stored(tmp_path / "v", bytes(200), encoding, skip=skip)) == "enough."
    assert asked == [expected]


@pytest.mark.parametrize(("size", "header_end", "skip", "found"), [
    (119, 0, 0, 119), (129, 4, 6, 119), (129, 10, AT_THE_END, 119), (9, 4, 6, 0), (3, 4, 0, 0)])
def test_a_length_is_looked_at_before_memory_is_taken(tmp_path: Path, size: int, header_end: int, skip: int, found: int,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory is taken"))
    message = refusal(lambda: stored(tmp_path / "v", bytes(size), RAW, header_end=header_end, skip=skip))
    assert f"is incomplete, {found} bytes of 120" in message


@pytest.mark.parametrize(("encoding", "data", "found"), [
    (DEFLATED, zlib.compress(RAW_BYTES[:-1]), 119), (BZIP2, bz2.compress(b""), 0),
    (HEX, RAW_BYTES[:-1].hex().encode(), 119), (HEX, RAW_BYTES.hex().encode()[:-1], 119),
    (TEXT, NUMBERS.rpartition(b" ")[0], 118), (RAW, b"\n" + RAW_BYTES[1:], 119)],
    ids=["zlib", "bzip2", "hex", "half", "text", "line"])
def test_what_is_missing_is_counted(tmp_path: Path, encoding: str, data: bytes, found: int) -> None:
    how = {"lines": 1} if encoding == RAW else {}
    message = refusal(lambda: stored(tmp_path / "v", data, encoding, **how))
    assert f"is incomplete, {found} bytes of 120" in message


WORDS = (b"-1", b"0", b"9" * 19, b"1e999", b"nan", b"%s%n", b"../x", b"/etc/passwd", b"LIST", b"\x1b[2J", b"\0", b"(((",
         b"a" * 10_000, b"", b"65535 65535 65535", b"none", b":", b"=", b"\xff\xfe", b"\r")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [lambda folder: nrrd(folder / "v.nrrd"), lambda folder: meta(folder / "v.mha")])
def test_whatever_becomes_of_a_header_it_is_read_or_refused(tmp_path: Path, make, seed: int) -> None:
    generator, whole = np.random.default_rng(seed), make(tmp_path).read_bytes()
    for _ in range(60):
        path, lines = make(tmp_path), whole.split(b"\n")
        number, word = int(generator.integers(1, 9)), WORDS[generator.integers(len(WORDS))]
        if generator.random() < 0.5:
            lines[number] = lines[number].partition(b" ")[0] + (b" = " if path.suffix == ".mha" else b" ") + word
            path.write_bytes(b"\n".join(lines))
        else:
            data = bytearray(whole)
            data[generator.integers(0, len(data) - VOXELS.nbytes)] = generator.integers(0, 256)
            path.write_bytes(data)
        try:
            read_volume(path, lambda _: None)
        except ValueError as error:
            assert len(str(error)) < 500 and "\n" not in str(error)
