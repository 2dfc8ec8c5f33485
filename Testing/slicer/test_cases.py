"""Which volumes a folder holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SAMoraSlicer.cases import Case, find_cases
from Testing.refusals import refusal

SLICE = bytes(128) + b"DICM" + bytes(50)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SLICE)
    return folder


def names(folder: Path, output: Path, **options: str) -> list[str]:
    return [case.name for case in found_in(folder, output, **options)]


def found_in(folder: Path, output: Path, *options: str, **others: str) -> tuple[Case, ...]:
    """The cases of a folder of which nothing is left out."""
    survey = find_cases(folder, output, *options, **others)
    assert not survey.left_out
    return survey.cases


def test_files_and_series_are_found_in_subfolders(tmp_path: Path) -> None:
    make(tmp_path / "in", "b.nii.gz", "a.NRRD", "Größe 腹部/ct.mha", "p1/s1/1.dcm", "p1/s1/2", "p1/s2/I", "p2.nii")
    found = found_in(tmp_path / "in", tmp_path / "out")
    assert [case.name for case in found] == ["a", "b", "p2", "Größe 腹部/ct", "p1/s1", "p1/s2"]
    assert found[3].output == tmp_path / "out/Größe 腹部/ct_segmentation.seg.nrrd"
    assert [case.input.is_dir() for case in found] == [False] * 4 + [True] * 2
    assert found[4].output == tmp_path / "out/p1/s1_segmentation.seg.nrrd"


def test_a_header_that_says_two_things_is_left_out_with_its_sentence(tmp_path: Path) -> None:
    make(tmp_path / "in", "a.nii.gz")
    (tmp_path / "in/b.nhdr").write_text("NRRD0004\ndata file: b.raw\ndata file: c.raw\n", encoding="utf-8")
    survey = find_cases(tmp_path / "in", tmp_path / "out")
    assert [case.name for case in survey.cases] == ["a"]
    assert [entry.path.name for entry in survey.left_out] == ["b.nhdr"] and "b.nhdr" in survey.left_out[0].reason


def test_what_is_no_volume_is_left_out(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nrrd", "old.seg.nrrd", "._ct.nrrd", ".cache/x.nii", "DICOMDIR")
    (tmp_path / "in/notes.txt").write_text("no volume", encoding="utf-8")
    (tmp_path / "in/empty").mkdir()
    assert names(tmp_path / "in", tmp_path / "out") == ["ct"]


def test_results_below_the_input_are_not_taken_for_volumes(tmp_path: Path) -> None:
    make(tmp_path, "ct.nrrd", "results/ct_segmentation.nii.gz", "results/manifest.json")
    assert names(tmp_path, tmp_path / "results", ending=".nii.gz") == ["ct"]


def test_a_folder_that_is_a_series_itself_is_one_case(tmp_path: Path) -> None:
    make(tmp_path / "series", "1.dcm", "2.dcm")
    found = found_in(tmp_path / "series", tmp_path / "out", ".nii.gz")
    assert [(case.name, case.output) for case in found] == [("series", tmp_path / "out/series_segmentation.nii.gz")]


def test_a_pattern_chooses(tmp_path: Path) -> None:
    make(tmp_path / "in", "s1/ct.nii.gz", "s1/label.nii.gz", "s2/ct.nii.gz", "s2/parts/liver.nii.gz")
    assert names(tmp_path / "in", tmp_path / "out", pattern="*/ct.nii.gz") == ["s1/ct", "s2/ct"]


def test_an_exchanged_input_has_another_fingerprint(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nii", "series/1", "series/2")
    before = found_in(tmp_path / "in", tmp_path / "out")
    os.utime(tmp_path / "in/ct.nii", ns=(0, 1))
    make(tmp_path / "in", "series/3")
    after = found_in(tmp_path / "in", tmp_path / "out")
    assert [a.fingerprint != b.fingerprint for a, b in zip(before, after, strict=True)] == [True, True]
    assert found_in(tmp_path / "in", tmp_path / "out") == after


def test_a_folder_that_cannot_be_segmented_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "same", "ct.nrrd")
    out = tmp_path / "out"
    assert "holds no volume;" in refusal(lambda: find_cases(tmp_path / "empty", out))
    assert "no volume that fits '*.mha'" in refusal(lambda: find_cases(tmp_path / "same", out, pattern="*.mha"))
    assert "choose another output folder" in refusal(lambda: find_cases(tmp_path / "same", tmp_path / "same"))
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*; give a folder with volumes"):
        find_cases(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="names are text on this system")
def test_a_name_that_is_no_text_is_a_case_like_any_other(tmp_path: Path) -> None:
    make(tmp_path / "in", "a.nrrd", "z.nrrd")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/M\xfcller.nrrd")).write_bytes(SLICE)
    found = found_in(tmp_path / "in", tmp_path / "out")
    assert [case.name for case in found] == ["M\udcfcller", "a", "z"]
    assert os.fsencode(found[0].output).endswith(b"/out/M\xfcller_segmentation.seg.nrrd")


def test_a_header_whose_voxels_were_exchanged_is_another_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mhd").write_text("ElementDataFile = a.raw", encoding="utf-8")
    (tmp_path / "in" / "a.raw").write_bytes(b"1234")
    before = found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint
    (tmp_path / "in" / "a.raw").write_bytes(b"12345")
    assert found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint != before


def test_the_index_of_a_dicom_disk_is_no_series_but_its_slices_are(tmp_path: Path) -> None:
    make(tmp_path / "in", "DICOMDIR", "dicomdir2/DicomDir", "disk/DICOMDIR", "disk/I1")
    (tmp_path / "in/disk/readme").write_text("no slice", encoding="utf-8")
    assert names(tmp_path / "in", tmp_path / "out") == ["disk"]


def test_a_folder_may_hold_files_and_a_series(tmp_path: Path) -> None:
    make(tmp_path / "in", "s/ct.nrrd", "s/I1", "s/sub/I1")
    assert names(tmp_path / "in", tmp_path / "out") == ["s/ct", "s", "s/sub"]


def test_a_volume_that_begins_like_a_slice_makes_its_folder_no_series(tmp_path: Path) -> None:
    make(tmp_path / "in", "s/ct.nii")
    assert names(tmp_path / "in", tmp_path / "out") == ["s/ct"]


def test_a_fingerprint_counts_files_bytes_and_the_last_change(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nii", "series/1", "series/2", "series/sub/3")
    for number, name in enumerate(("ct.nii", "series/1", "series/2", "series/sub/3"), start=1):
        os.utime(tmp_path / "in" / name, ns=(0, 1000 * number))
    found = {case.name: case.fingerprint[:3] for case in found_in(tmp_path / "in", tmp_path / "out")}
    assert found == {"ct": (1, len(SLICE), 1000), "series": (2, 2 * len(SLICE), 3000),
                     "series/sub": (1, len(SLICE), 4000)}


@pytest.mark.parametrize(("header", "files"), [
    ("ElementDataFile = voxels.bin", ("voxels.bin",)),
    ("ElementDataFile = LIST\none.raw\ntwo.raw", ("one.raw", "two.raw")),
    ("ElementDataFile = s%02d.raw 1 3 1", ("s01.raw", "s02.raw", "s03.raw")), ("ElementDataFile = LOCAL\n1234", ())])
def test_every_file_with_voxels_is_part_of_the_input(tmp_path: Path, header: str, files: tuple[str, ...]) -> None:
    make(tmp_path / "in", *files, "other.txt")
    (tmp_path / "in/a.mhd").write_text(header, encoding="utf-8")
    before = found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint
    assert before[0] == 1 + len(files)
    make(tmp_path / "in", "other.txt")
    assert found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint == before
    for name in files:
        (tmp_path / "in" / name).write_bytes(SLICE)
        os.utime(tmp_path / "in" / name, (0, 0))  # of the same size and older: copied here with its date
        after = found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint
        assert after != before
        before = after


def test_capitals_alone_do_not_make_two_results(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nrrd", "x/CT.nrrd")
    assert names(tmp_path / "in", tmp_path / "out") == ["ct", "x/CT"]
    make(tmp_path / "in", "x/ct.mha")
    survey = find_cases(tmp_path / "in", tmp_path / "out")
    assert [case.name for case in survey.cases] == ["ct", "x/CT"]
    (entry,) = survey.left_out
    assert "CT.nrrd' and" in entry.reason and "ct.mha' would be written to the same file" in entry.reason
    assert entry.is_failure and entry.path.name == "ct.mha"


def test_an_output_folder_that_is_another_name_of_the_input_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nrrd")
    assert "choose another output folder" in refusal(lambda: find_cases(tmp_path / "in", tmp_path / "x/../in"))


def test_a_slice_that_is_exchanged_for_an_older_one_is_noticed(tmp_path: Path) -> None:
    make(tmp_path / "in", "s/1.dcm", "s/2.dcm")
    before = found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint
    os.utime(tmp_path / "in/s/1.dcm", (0, 0))
    after = found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint
    assert after[:3] == before[:3] and after != before


def test_a_nrrd_may_have_its_voxels_elsewhere_too(tmp_path: Path) -> None:
    make(tmp_path / "in", "voxels.bin")
    (tmp_path / "in/a.nrrd").write_text("NRRD0004\ndata file: voxels.bin\n", encoding="utf-8")
    assert found_in(tmp_path / "in", tmp_path / "out")[0].fingerprint[0] == 2


def test_a_linked_series_is_called_as_it_was_given(tmp_path: Path) -> None:
    make(tmp_path / "store/MD5E-s1", "1.dcm")
    (tmp_path / "patient").symlink_to(tmp_path / "store/MD5E-s1")
    assert names(tmp_path / "patient", tmp_path / "out") == ["patient"]
    assert names(tmp_path / "patient/..", tmp_path / "out") != [".."]


@pytest.mark.parametrize("name", ["labels.dcm", "labels.NII.GZ", "labels.seg.nrrd"])
def test_a_files_name_is_no_folder_for_results(tmp_path: Path, name: str) -> None:
    make(tmp_path / "in", "ct.nrrd")
    assert "names a file" in refusal(lambda: find_cases(tmp_path / "in", tmp_path / name))
    (tmp_path / name).mkdir()
    assert names(tmp_path / "in", tmp_path / name) == ["ct"]
    make(tmp_path, "file")
    assert "names a file" in refusal(lambda: find_cases(tmp_path / "in", tmp_path / "file"))


def test_a_pattern_hides_no_folder_that_may_hold_what_fits(tmp_path: Path) -> None:
    make(tmp_path / "in", "p1/ct.nii.gz", "p1/x.mgz")
    (tmp_path / "in/p2").symlink_to(tmp_path / "gone")
    survey = find_cases(tmp_path / "in", tmp_path / "out", pattern="*/ct.nii.gz")
    assert [case.name for case in survey.cases] == ["p1/ct"]
    assert [entry.path.name for entry in survey.left_out] == ["p2"]


def test_where_no_volume_is_left_the_reason_is_in_the_sentence(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/ct.nii.gz").symlink_to(tmp_path / "gone")
    said = refusal(lambda: find_cases(tmp_path / "in", tmp_path / "out"))
    assert "holds no volume" in said and "is a link to nothing" in said
