"""What lies in a folder: volumes behind links, and what cannot be taken."""

from __future__ import annotations

import inspect
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from SAMoraLib.volume import text_header
from SAMoraSlicer import entries
from SAMoraSlicer.cases import find_cases
from SAMoraSlicer.entries import LeftOut, journal_entries, volumes_below

SLICE = bytes(128) + b"DICM" + bytes(50)
needs_fifos = pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in folders")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "in", "ct.nii.gz")


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SLICE)
    return folder


def look(folder: Path) -> tuple[list[str], list[LeftOut]]:
    """Volumes below the folder, and what is left out."""
    found = list(volumes_below(folder, folder.with_name("out")))
    volumes = [path.relative_to(folder).as_posix() for path in found if isinstance(path, Path)]
    return volumes, [entry for entry in found if isinstance(entry, LeftOut)]


def test_linked_folders_and_files_are_looked_through(folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "store", "p1/ct.nii.gz", "p2/I1", "p2/I2", "3f2a.nrrd")
    (folder / "first").symlink_to(tmp_path / "store/p1")
    (folder / "second").symlink_to("../store/p2")
    (folder / "third.nrrd").symlink_to("../store/3f2a.nrrd")
    assert look(folder) == (["ct.nii.gz", "third.nrrd", "first/ct.nii.gz", "second"], [])


def test_links_that_lead_in_circles_or_twice_to_a_folder_end(folder: Path) -> None:
    make(folder, "z/ct.nii.gz")
    for link, target in (("z/again", folder), ("a", folder / "z"), ("up", folder.parent), ("root", Path("/"))):
        (folder / link).symlink_to(target)
    volumes, left_out = look(folder)
    assert volumes == ["ct.nii.gz", "z/ct.nii.gz"], "by its own name, though the link comes first"
    said = {entry.path.name: entry.reason for entry in left_out}
    assert all("looked through already by another name" in said[name] for name in ("a", "again"))
    assert all("holds the input folder" in said[name] for name in ("up", "root"))
    assert not any(entry.is_failure for entry in left_out)


def test_folders_may_lie_deeper_than_python_calls(folder: Path) -> None:
    deep = folder
    for _ in range(250):  # no deeper: what clears up after tests, also after killed ones, is recursive
        deep /= "d"
        deep.mkdir()
    (deep / "ct.nii").write_bytes(SLICE)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 200)
    try:
        assert len(look(folder)[0]) == 2
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("name", ["lost.nii.gz", "lost.NRRD", "lost", "sub-01.ses-2", "lost.dcm", "1.2.840.12"])
def test_a_link_to_nothing_is_named_and_the_others_are_taken(folder: Path, name: str) -> None:
    (folder / name).symlink_to(folder / "gone")
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"]
    assert entry.is_failure and name in entry.reason and "is a link to nothing; restore" in entry.reason


def test_a_link_to_nothing_that_was_no_volume_is_no_failure(folder: Path) -> None:
    (folder / "notes.txt").symlink_to(folder / "gone")
    (folder / "circle.json").symlink_to(folder / "circle.json")
    volumes, left_out = look(folder)
    assert volumes == ["ct.nii.gz"] and [entry.is_failure for entry in left_out] == [False, False]
    assert "is a link in a circle" in left_out[0].reason


def test_a_series_of_which_links_are_lost_is_not_taken_for_a_shorter_one(folder: Path) -> None:
    make(folder, "s/1.dcm", "s/2.dcm", "t/I1", "u/1.dcm")
    for name in ("s/3.dcm", "s/4.dcm", "t/I2", "u/notes.txt"):
        (folder / name).symlink_to(folder / "gone")
    volumes, left_out = look(folder)
    assert volumes == ["ct.nii.gz", "u"]
    assert [(entry.path.name, entry.is_failure) for entry in left_out] == [("s", True), ("t", True),
                                                                           ("notes.txt", False)]
    assert "s' is incomplete: '" in left_out[0].reason and "3.dcm' and 1 more beside it" in left_out[0].reason


def test_the_links_of_a_series_that_is_not_there_are_one_line(folder: Path) -> None:
    for number in range(40):
        (folder / f"{number:02}.dcm").symlink_to(folder / "gone")
    [entry] = look(folder)[1]
    assert "00.dcm' and 39 more beside it are links to nothing" in entry.reason and entry.is_failure


@needs_fifos
@pytest.mark.parametrize(("name", "is_failure"), [("pipe.nii", True), ("pipe", False), ("pipe.dcm", True)])
def test_nothing_waits_for_a_fifo(folder: Path, name: str, is_failure: bool) -> None:
    os.mkfifo(folder / name)
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"] and "is no file (a pipe); give files" in entry.reason
    assert entry.is_failure == is_failure


@needs_fifos
def test_nothing_waits_for_voxels_in_a_fifo_or_for_a_manifest_that_is_one(folder: Path) -> None:
    os.mkfifo(folder / "x.raw")
    os.mkfifo(folder / "manifest.json")
    (folder / "x.nhdr").write_text("NRRD0004\ndata file: x.raw\n", encoding="utf-8")
    volumes, left_out = look(folder)
    assert volumes == ["ct.nii.gz"]
    assert [entry.path.name for entry in left_out if entry.is_failure] == ["x.nhdr"]


@pytest.mark.parametrize("value", ["x" * 5000, "a\0b", "LIST", "s%d.raw 1 999999999 1", "%d 1 2", "..", "/"])
def test_a_damaged_header_does_not_end_the_others(folder: Path, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_header, "MOST_FILES", 1000)  # of which each is looked for
    (folder / "x.mhd").write_text(f"ElementDataFile = {value}", encoding="utf-8")
    (folder / "y.nhdr").write_text(f"NRRD0004\ndata file: {value}\n", encoding="utf-8")
    survey = find_cases(folder, folder.with_name("out"))
    assert {entry.path.name for entry in survey.left_out} <= {"x.mhd", "y.nhdr"}
    assert "ct" in [case.name for case in survey.cases]


@needs_fifos
def test_sockets_and_devices_are_no_volumes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "null.nii").symlink_to("/dev/null")
    monkeypatch.chdir(folder)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("s.nii")
        volumes, left_out = look(folder)
    assert volumes == ["ct.nii.gz"]
    assert ["a device" in left_out[0].reason, "a socket" in left_out[1].reason] == [True, True]


@pytest.mark.parametrize("name", ["a.img", "a.mgz", "a.nii.zst", "a.NRRD.gz", "a.zip", "a.tar.gz", "a.TIFF", "a.raw",
                                  "1.dcm.gz", "1.DCM.zip", "1.ima.bz2", "1.dicom.xz", "series.dcm.tar", "IM0001.gz",
                                  "a+orig.BRIK", "a+orig.HEAD", "a+tlrc.BRIK.gz", "a.mif", "a.mif.gz", "a.mih",
                                  "a.b2nd", "a.nia", "a.nii.lzma", "a.nii.Z", "a.mgh.gz", "a.tbz2", "disk.iso"])
def test_a_format_that_is_not_read_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"volume")
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"] and not entry.is_failure
    assert name in entry.reason and "not read; convert it" in entry.reason


def test_many_files_of_such_a_format_are_one_line_and_a_headers_voxels_none(folder: Path) -> None:
    make(folder, "x.img", "y.raw.gz", "z1.raw", "z2.raw")
    for number in range(9):
        (folder / f"{number}.tif").write_bytes(b"slice")
    (folder / "x.mhd").write_text("ElementDataFile = x.img", encoding="utf-8")
    (folder / "y.nhdr").write_text("NRRD0004\ndata file: y.raw.gz\n", encoding="utf-8")
    (folder / "z.mhd").write_text("ElementDataFile = z%d.raw 1 2 1", encoding="utf-8")
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz", "x.mhd", "y.nhdr", "z.mhd"] and "0.tif' and 8 more beside it" in entry.reason


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_what_may_not_be_read_is_named(folder: Path) -> None:
    make(folder, "secret.nii", "locked/ct.nii")
    (folder / "secret.nii").chmod(0)
    (folder / "locked").chmod(0)
    _, left_out = look(folder)
    (folder / "locked").chmod(0o700)
    assert [entry.is_failure for entry in left_out] == [True, True]
    assert "may not be read" in left_out[0].reason and "cannot be read" in left_out[1].reason


def test_a_folder_that_cannot_be_listed_does_not_end_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(folder, "locked/ct.nii", "z/ct.nii")
    listed = Path.iterdir

    def refuse(place: Path) -> Iterator[Path]:
        if place.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listed(place)

    monkeypatch.setattr(Path, "iterdir", refuse)
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz", "z/ct.nii"]
    assert "locked' cannot be read (Permission denied)" in entry.reason and entry.is_failure and entry.is_folder


def test_an_entry_of_which_nothing_can_be_asked_does_not_end_the_others(folder: Path, monkeypatch: pytest.MonkeyPatch
                                                                        ) -> None:
    """As in a folder that may be listed and not entered, or on a disk that is gone."""
    make(folder, "stale.nii")
    asked = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.name == "stale.nii":
            raise OSError(116, "Stale file handle")
        return asked(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"] and "is out of reach (Stale file handle)" in entry.reason and entry.is_failure


@pytest.mark.parametrize(("name", "named"), [("I1", True), ("a.DCM", True), ("1.2.840", True), ("notes.txt", False),
                                             ("a.json", False)])
def test_what_may_be_a_slice_and_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                         named: bool) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(entries, "looks_like_dicom", refuse)
    volumes, left_out = look(make(folder, f"s/{name}"))
    assert volumes == ["ct.nii.gz"]
    assert [entry.reason for entry in left_out] == [f"'{folder / 's' / name}' cannot be read (Permission denied)."
                                                    ] * named
    assert all(entry.is_failure and not entry.is_folder for entry in left_out)


def test_the_index_of_a_disc_is_no_slice(folder: Path) -> None:
    assert look(make(folder, "DICOMDIR", "p/dicomdir", "p/1.dcm", "q/DICOMDIR")) == (["ct.nii.gz", "p"], [])


def test_a_header_whose_voxels_are_not_there_is_for_the_reader_to_refuse(folder: Path) -> None:
    (folder / "x.mhd").write_text("ElementDataFile = gone.raw", encoding="utf-8")
    assert look(folder) == (["ct.nii.gz", "x.mhd"], [])


@pytest.mark.parametrize(("names", "first", "is_folder"), [
    (("a", "b"), ["a", "b"], [True, True]), (("a.txt", "b.txt"), ["a.txt"], [False]),
    (("1.dcm", "2.dcm", "x"), ["1.dcm", "x"], [False, True]), (("a.nii", "b.nii"), ["a.nii", "b.nii"], [False, False]),
])
def test_lost_links_without_an_ending_may_be_folders_and_are_named_one_by_one(
        folder: Path, names: tuple[str, ...], first: list[str], is_folder: list[bool]) -> None:
    for name in names:
        (folder / name).symlink_to(folder / "gone")
    left_out = look(folder)[1]
    assert [entry.path.name for entry in left_out] == first
    assert [entry.is_folder for entry in left_out] == is_folder


def test_slices_are_known_by_their_content_whatever_they_are_called(folder: Path) -> None:
    make(folder, "s/1.img", "s/2.img")
    assert look(folder) == (["ct.nii.gz", "s"], [])


def test_slices_without_a_preamble_are_a_series(folder: Path) -> None:
    make(folder, "s/readme.nii")
    (folder / "s/I1").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" + bytes(200))
    assert look(folder)[0] == ["ct.nii.gz", "s/readme.nii", "s"]


def test_results_are_no_volumes_wherever_they_are_linked_and_whichever_batch_wrote_them(folder: Path, tmp_path: Path
                                                                                        ) -> None:
    make(tmp_path / "out", "p/ct.nii.gz")
    (folder / "latest").symlink_to(tmp_path / "out")
    (folder / "of p").symlink_to(tmp_path / "out/p")
    for name in ("manifest.json", "manifest.jsonl"):
        older = make(folder / name.replace(".", "_"), "p/ct_segmentation.nii.gz", "other.nii.gz")
        run, state = {"format": ".nii.gz"}, {"status": "done"}
        whole = {"run": run, "cases": {"p/ct": state}}
        lines = "\n".join(map(json.dumps, [{"run": run}, {"name": "p/ct", "state": state}]))
        (older / name).write_text(lines if name.endswith("l") else json.dumps(whole), encoding="utf-8")
    assert look(folder) == (["ct.nii.gz", "manifest_json/other.nii.gz", "manifest_jsonl/other.nii.gz"], [])


@pytest.mark.parametrize("text", ["[]", "1", '{"cases": 3}', '{"run": {}, "cases": {"ct": 1}}', "\0", ""])
def test_a_manifest_of_another_program_hides_nothing(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    assert look(folder) == (["ct.nii.gz"], [])


def test_an_input_that_lies_among_results_is_looked_through(tmp_path: Path) -> None:
    make(tmp_path / "out/in", "a/ct.nii.gz")
    (tmp_path / "out/in/b").symlink_to(make(tmp_path / "out/in2", "ct.nii.gz"))
    found = list(volumes_below(tmp_path / "out/in", tmp_path / "out"))
    assert [path.parent.name for path in found if isinstance(path, Path)] == ["a", "b"]


@pytest.mark.parametrize("name", ["a.zarr", "A.ZARR", "a.ome.zarr", "a.n5"])
def test_a_folder_that_is_a_volume_of_another_format_is_named(folder: Path, name: str) -> None:
    make(folder, f"{name}/0/0.0.0", f"{name}/0/1.nii")
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"] and f"{name}' is of a format that is not read" in entry.reason


@pytest.mark.parametrize("names", [
    ("1.dcm", "2.dcm", "3.dcm"), ("a.IMA", "b.IMA", "c.IMA"), ("x.dicom", "y.dicom", "z"), ("IM0001", "IM0002"),
    ("00001", "00002", "notes"), ("CT.1.2.840.1", "CT.1.3"), ("slice_001", "slice_002"), ("1.2.840.1", "1.2.840.2"),
    ("1.dcm",)])
@pytest.mark.parametrize("content", [b"", bytes(5000), b"\xff\x03\x91" * 500, b"\0"])
def test_a_series_of_which_every_file_is_ruined_is_named(folder: Path, names: tuple[str, ...], content: bytes) -> None:
    for name in names:
        make(folder, f"p1/{name}").joinpath("p1", name).write_bytes(content)
    volumes, [entry] = look(folder)
    assert volumes == ["ct.nii.gz"] and entry.is_failure and entry.path == folder / "p1"
    assert "called as slices of a DICOM series and" in entry.reason and entry.reason.endswith("copy the series again.")


@pytest.mark.parametrize("names", [("README", "LICENSE"), ("log1", "log2"), ("1.txt", "2.txt"), ("IM0001",),
                                   ("a.json",)])
def test_what_is_not_called_as_slices_is_no_ruined_series(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        make(folder, name).joinpath(name).write_bytes(b"a text, in some lines\nand tabs\t")
    assert look(folder) == (["ct.nii.gz"], [])


def test_a_batch_of_ruined_series_alone_says_why_there_is_nothing(tmp_path: Path) -> None:
    make(tmp_path / "in", "p/1.dcm").joinpath("p/1.dcm").write_bytes(bytes(1000))
    with pytest.raises(ValueError, match=r"holds no volume; .*/1\.dcm' is called as slices of a DICOM series"):
        find_cases(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize("record", [
    {"run": {"format": "/../ct.nii.gz"}, "cases": {"": {}}}, {"run": {"format": ".gz"}, "cases": {"ct": {}}},
    {"run": {"format": 5}, "cases": {"ct": {}}}, {"run": [], "cases": ["ct"]},
    {"run": {"format": ".nii.gz"}, "cases": 5}, {"run": {"format": [".nii.gz"]}, "cases": {"ct": 1}},
    {"run": {"format": ".nii.gz"}, "name": ["ct"]},
    {"run": "format", "cases": "ct"}, {"run": {"format": ".nii.gz"}, "name": "../../ct\0"}, "run", 5, None, [1]])
@pytest.mark.parametrize("name", ["manifest.json", "manifest.jsonl"])
def test_a_manifest_of_any_types_hides_nothing(folder: Path, record: object, name: str) -> None:
    (folder / name).write_text(json.dumps(record), encoding="utf-8")
    assert look(folder) == (["ct.nii.gz"], [])


@pytest.mark.parametrize("text", ["[" * 200_000, '{"run": ' * 200_000, '{"name": Infinity}', '{"a": 1, "a": 2}',
                                  "\ud800"])
def test_a_journals_lines_are_tables_or_nothing(tmp_path: Path, text: str) -> None:
    journal = tmp_path / "manifest.jsonl"
    journal.write_bytes(b'{"name": "a"}\n' + text.encode(errors="surrogatepass") + b'\n{"name": "b"}\n{"name": "c')
    assert list(journal_entries(journal)) == [{"name": "a"}, {"name": "b"}]
