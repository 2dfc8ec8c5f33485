"""Results are named after what was given, and each has a name of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from SAMoraLib.volume import label_names
from SAMoraLib.volume.label_names import label_paths, own_names, stem
from Testing.refusals import refusal


def names(*paths: str) -> list[str]:
    return own_names([Path(path) for path in paths])


@pytest.mark.parametrize(("path", "name"), [
    ("ct.nii.gz", "ct"), ("CT.NII.GZ", "CT"), ("a.b.nrrd", "a.b"), ("x.seg.nrrd", "x.seg"), ("series", "series"),
    ("1.2.840.10008", "1.2.840.10008"), ("in/./series/", "series"), ("ct.dcm", "ct.dcm"), ("患者.mha", "患者")])
def test_a_name_is_without_its_ending(path: str, name: str) -> None:
    assert stem(Path(path)) == name


def test_a_link_gives_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/aabbcc.nii.gz").write_bytes(b"x")
    for name, target in {"sub-01_ct.nii.gz": "store/aabbcc.nii.gz", "sub-02.nrrd": "store/none", "patient": "store",
                         "second.nii.gz": "sub-01_ct.nii.gz"}.items():
        (tmp_path / name).symlink_to(target)
    given = [tmp_path / name for name in ("sub-01_ct.nii.gz", "sub-02.nrrd", "patient", "second.nii.gz")]
    assert own_names(given) == ["sub-01_ct", "sub-02", "patient", "second"]


@pytest.mark.parametrize("path", [".", "", "../inside", "../inside/.", "deeper/.."])
def test_where_none_is_written_the_folders_own_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
                                                      ) -> None:
    (tmp_path / "inside/deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "inside")
    assert stem(Path(path)) == "inside"


@pytest.mark.parametrize(("given", "expected"), [
    (["31/mr.nii.gz", "32/mr.nii.gz"], ["31_mr", "32_mr"]),
    (["31/mr.nii.gz", "ct.nrrd", "32/mr.nrrd"], ["31_mr", "ct", "32_mr"]),
    (["31/CT", "32/CT"], ["31_CT", "32_CT"]),
    (["a/1/mr.mha", "b/1/mr.mha"], ["a_1_mr", "b_1_mr"]),
    (["a/1/mr.mha", "b/1/mr.mha", "c/2/mr.mha"], ["a_1_mr", "b_1_mr", "c_2_mr"]),
    (["a/x.mha", "b/x.mha", "a/y.mha", "b/c/y.mha"], ["a_x", "b_x", "a_y", "c_y"]),
    (["31/mr.mha", "32/mr.mha", "31_mr.mha"], ["in_31_mr", "in_32_mr", "31_mr"]),
    (["31/mr.mha", "31/../32/mr.mha"], ["31_mr", "32_mr"])])
def test_as_many_folders_as_tell_inputs_of_one_name_apart(given: Sequence[str], expected: Sequence[str]) -> None:
    assert names(*(f"/data/in/{path}" for path in given)) == expected


def test_relative_inputs_are_told_apart_by_folders_that_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                                        ) -> None:
    (tmp_path / "31").mkdir()
    monkeypatch.chdir(tmp_path / "31")
    assert names("mr.mha", "../32/mr.mha") == ["31_mr", "32_mr"]


def test_linked_folders_are_told_apart_by_the_links(tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        (tmp_path / name).symlink_to("store")
    assert own_names([tmp_path / "p1/ct.nrrd", tmp_path / "p2/ct.nrrd"]) == ["p1_ct", "p2_ct"]


@pytest.mark.parametrize(("given", "message"), [
    (["a/ct.mha", "a/ct.mha"], "'a/ct.mha' is given twice; give it once."),
    (["a/ct.mha", "b/../a/ct.mha"], "'b/../a/ct.mha' is given twice; give it once."),
    (["a/ct.mha", "b/ct.mha", "a/ct.nrrd"], "'a/ct.mha' and 'a/ct.nrrd' have the same name in the same folder")])
def test_inputs_that_nothing_tells_apart_are_refused(given: Sequence[str], message: str) -> None:
    assert refusal(lambda: names(*given)).startswith(message)


def test_capitals_do_not_tell_names_apart_where_disks_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["/in/31/CT.mha", "/in/32/ct.mha"]
    monkeypatch.setattr(label_names, "FOLDS_CAPITALS", False)
    assert names(*given) == ["CT", "ct"]
    monkeypatch.setattr(label_names, "FOLDS_CAPITALS", True)
    assert names(*given) == ["31_CT", "32_ct"]
    assert "have the same name" in refusal(lambda: names("/in/CT.mha", "/in/ct.mha"))


def test_label_files_lie_in_the_folder_with_the_ending() -> None:
    found = label_paths([Path("a.nii"), Path("b")], Path("out"), ".seg.nrrd")
    assert found == [Path("out/a_segmentation.seg.nrrd"), Path("out/b_segmentation.seg.nrrd")]
