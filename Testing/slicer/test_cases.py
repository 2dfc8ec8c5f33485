"""Which volumes a folder holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from SAMoraSlicer.cases import find_cases
from Testing.refusals import refusal

SLICE = bytes(128) + b"DICM" + bytes(50)


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(SLICE)
    return folder


def names(folder: Path, output: Path, **options: str) -> list[str]:
    return [case.name for case in find_cases(folder, output, **options)]


def test_files_and_series_are_found_in_subfolders(tmp_path: Path) -> None:
    make(tmp_path / "in", "b.nii.gz", "a.NRRD", "Größe 腹部/ct.mha", "p1/s1/1.dcm", "p1/s1/2", "p1/s2/I", "p2.nii")
    found = find_cases(tmp_path / "in", tmp_path / "out")
    assert [case.name for case in found] == ["a", "b", "p2", "Größe 腹部/ct", "p1/s1", "p1/s2"]
    assert found[3].output == tmp_path / "out/Größe 腹部/ct_segmentation.seg.nrrd"
    assert [case.input.is_dir() for case in found] == [False] * 4 + [True] * 2
    assert found[4].output == tmp_path / "out/p1/s1_segmentation.seg.nrrd"


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
    found = find_cases(tmp_path / "series", tmp_path / "out", ".nii.gz")
    assert [(case.name, case.output) for case in found] == [("series", tmp_path / "out/series_segmentation.nii.gz")]


def test_a_pattern_chooses(tmp_path: Path) -> None:
    make(tmp_path / "in", "s1/ct.nii.gz", "s1/label.nii.gz", "s2/ct.nii.gz", "s2/parts/liver.nii.gz")
    assert names(tmp_path / "in", tmp_path / "out", pattern="*/ct.nii.gz") == ["s1/ct", "s2/ct"]


def test_an_exchanged_input_has_another_fingerprint(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nii", "series/1", "series/2")
    before = find_cases(tmp_path / "in", tmp_path / "out")
    os.utime(tmp_path / "in/ct.nii", ns=(0, 1))
    make(tmp_path / "in", "series/3")
    after = find_cases(tmp_path / "in", tmp_path / "out")
    assert [a.fingerprint != b.fingerprint for a, b in zip(before, after, strict=True)] == [True, True]
    assert find_cases(tmp_path / "in", tmp_path / "out") == after


def test_a_folder_that_cannot_be_segmented_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make(tmp_path / "same", "ct.nrrd", "CT.nii.gz")
    out = tmp_path / "out"
    assert "holds no volume;" in refusal(lambda: find_cases(tmp_path / "empty", out))
    assert "no volume that fits '*.mha'" in refusal(lambda: find_cases(tmp_path / "same", out, pattern="*.mha"))
    assert "written to the same file" in refusal(lambda: find_cases(tmp_path / "same", out))
    assert "choose another output folder" in refusal(lambda: find_cases(tmp_path / "same", tmp_path / "same"))
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*; give a folder with volumes"):
        find_cases(tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname == "Darwin", reason="names are text on this system")
def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nrrd")).write_bytes(b"")
    assert "not valid UTF-8; rename it" in refusal(lambda: find_cases(tmp_path, tmp_path / "out"))


def test_a_header_whose_voxels_were_exchanged_is_another_input(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mhd").write_text("ElementDataFile = a.raw", encoding="utf-8")
    (tmp_path / "in" / "a.raw").write_bytes(b"1234")
    before = find_cases(tmp_path / "in", tmp_path / "out")[0].fingerprint
    (tmp_path / "in" / "a.raw").write_bytes(b"12345")
    assert find_cases(tmp_path / "in", tmp_path / "out")[0].fingerprint != before


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
    found = {case.name: case.fingerprint for case in find_cases(tmp_path / "in", tmp_path / "out")}
    assert found == {"ct": (1, len(SLICE), 1000), "series": (2, 2 * len(SLICE), 3000),
                     "series/sub": (1, len(SLICE), 4000)}


def test_a_headers_neighbours_of_another_name_are_not_its_voxels(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.nhdr", "a.raw", "b.raw", "a.nii"):
        (tmp_path / "in" / name).write_bytes(b"1234")
    found = [case.fingerprint[:2] for case in find_cases(tmp_path / "in", tmp_path / "out", pattern="*.nhdr")]
    assert found == [(3, 12)], "with a.nii, which may be its voxels as well"


def test_capitals_alone_do_not_make_two_results(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nrrd", "x/CT.nrrd")
    assert names(tmp_path / "in", tmp_path / "out") == ["ct", "x/CT"]
    make(tmp_path / "in", "x/ct.mha")
    said = refusal(lambda: find_cases(tmp_path / "in", tmp_path / "out"))
    assert "CT.nrrd' and" in said and "ct.mha' would be written to the same file; rename one, or choose with" in said


def test_an_output_folder_that_is_another_name_of_the_input_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "in", "ct.nrrd")
    assert "choose another output folder" in refusal(lambda: find_cases(tmp_path / "in", tmp_path / "x/../in"))
