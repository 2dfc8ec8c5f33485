"""Archives of torch's: every damage is seen, and nothing is refused that torch wrote whole."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from SAMoraLib.weights.archive import _require_torchs, require_whole_archive
from SAMoraLib.weights.tensors import read_plain
from Testing.refusals import refusal

TABLE = {"a.weight": torch.arange(200.0), "b": torch.ones(3, dtype=torch.float16), "n": 3}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    torch.save(TABLE, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_what_torch_wrote_passes(whole: Path, tmp_path: Path) -> None:
    require_whole_archive(whole)
    torch.save(torch.ones(1), tmp_path / "one.pt")
    require_whole_archive(tmp_path / "one.pt")


def test_every_flipped_byte_of_a_record_is_seen(whole: Path) -> None:
    content = whole.read_bytes()
    with zipfile.ZipFile(whole) as archive:
        largest = max(archive.infolist(), key=lambda record: record.file_size)
    start = content.index(TABLE["a.weight"].numpy().tobytes())
    for at in range(start, start + largest.file_size, 37):
        whole.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        message = refusal(lambda: require_whole_archive(whole))
        assert f"'{whole}' is damaged: the checksum of its record '{largest.filename}' does not fit" in message


def test_a_record_that_is_marked_as_a_folder_is_refused(whole: Path) -> None:
    """torch would hand out whatever memory held before."""
    content = whole.read_bytes()
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"data/0")) + 38  # its attributes, in the table at the end
    whole.write_bytes(content[:at] + b"\x10" + content[at + 1:])
    assert "it holds a folder with content" in refusal(lambda: require_whole_archive(whole))


def test_a_file_that_is_cut_short_is_refused(whole: Path) -> None:
    content = whole.read_bytes()
    for length in range(0, len(content), 61):
        whole.write_bytes(content[:length])
        assert str(whole) in refusal(lambda: require_whole_archive(whole))


def flips(content: bytes) -> Iterator[bytes]:
    for at in range(0, len(content), 3):
        yield content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


def test_any_other_damage_is_one_sentence_or_none(whole: Path) -> None:
    """Bytes between the records hold nothing; those that torch alone looks at, torch refuses."""
    expected, refused = read_plain(whole), 0
    for content in flips(whole.read_bytes()):
        whole.write_bytes(content)
        try:
            found = read_plain(whole)
        except ValueError as error:
            assert str(whole) in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert torch.equal(found["a.weight"], expected["a.weight"]) and found["n"] == 3
    assert refused > 100


def test_files_without_checksums_are_refused(tmp_path: Path) -> None:
    torch.save(TABLE, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    assert "that torch wrote before 1.6" in refusal(lambda: require_whole_archive(tmp_path / "legacy.pth"))
    with tarfile.open(tmp_path / "older.pth", "w") as archive:
        archive.add(tmp_path / "legacy.pth", "storages")
    assert "that torch wrote before 1.6" in refusal(lambda: require_whole_archive(tmp_path / "older.pth"))
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    torch.save(TABLE, tmp_path / "none.pth")
    torch.serialization.set_crc32_options(before)
    assert "was written without checksums" in refusal(lambda: require_whole_archive(tmp_path / "none.pth"))


def test_a_packed_weights_file_is_to_be_unpacked(whole: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth.zip", "w") as archive:
        archive.write(whole, "weights/w.pth")
    message = refusal(lambda: require_whole_archive(tmp_path / "w.pth.zip"))
    assert "an archive of 1 files, first 'weights/w.pth'" in message and "unpack it" in message


def test_an_archive_that_unpacks_to_more_than_it_holds_is_refused_unread(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"")
        archive.writestr("bomb/data/0", bytes(10_000_000))
    assert "unpacks to more than it holds" in refusal(lambda: require_whole_archive(tmp_path / "bomb.pth"))


@pytest.mark.parametrize("content", [b"", b"\x80", b"garbage " * 99, b"PK\x03\x04 cut", b"PK\x05\x06" + bytes(18)])
def test_other_files(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert "w.pth'" in refusal(lambda: require_whole_archive(tmp_path / "w.pth"))


def test_an_older_form_with_an_archive_behind_it_is_refused(whole: Path, tmp_path: Path) -> None:
    """torch decides by the first bytes, and would read the older form, which nothing has looked through."""
    torch.save({"w": torch.ones(1).expand(10**12)}, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "both.pth").write_bytes((tmp_path / "legacy.pth").read_bytes() + whole.read_bytes())
    assert zipfile.is_zipfile(tmp_path / "both.pth")
    assert "that torch wrote before 1.6" in refusal(lambda: read_plain(tmp_path / "both.pth"))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_file_that_is_packed_as_a_whole_is_not_unpacked(pack: Callable[[bytes], bytes], whole: Path) -> None:
    whole.write_bytes(pack(whole.read_bytes() + bytes(10_000_000)))
    assert "get it again" in refusal(lambda: read_plain(whole))


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["w/data.pkl", "w/DATA.pkl"])
def test_two_tables_in_one_archive_are_refused(name: str, whole: Path) -> None:
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(name, b"\x80\x02}.")
    assert "two records of one name" in refusal(lambda: read_plain(whole))


def test_records_that_lie_in_each_other_are_refused(tmp_path: Path) -> None:
    """Every name leads to the same bytes: each is as long as it says, all of them are longer than the file."""
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02}.")
        archive.writestr("w/data/0", bytes(100_000))
        for number in range(1, 50):
            copy = zipfile.ZipInfo(f"w/data/{number}")
            first = archive.getinfo("w/data/0")
            copy.header_offset, copy.CRC, copy.file_size = first.header_offset, first.CRC, first.file_size
            copy.compress_size = first.compress_size
            archive.filelist.append(copy)
    assert "unpacks to more than it holds" in refusal(lambda: read_plain(path))


def test_records_may_be_as_long_as_the_file_together(tmp_path: Path) -> None:
    path, records = tmp_path / "w.pth", [zipfile.ZipInfo("w/data.pkl"), zipfile.ZipInfo("w/data/0")]
    for record, size in zip(records, (30, 70), strict=True):
        record.file_size, record.CRC = size, 1
    path.write_bytes(bytes(100))
    _require_torchs(path, records)
    path.write_bytes(bytes(99))
    assert "unpacks to more than it holds" in refusal(lambda: _require_torchs(path, records))
