"""One's own folder: which files are a case, and what the numbers in them mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from SAMoraLib.labels import get_label_set
from Testing.refusals import refusal
from Training.datasets.folder import check_label_numbers, find_sources, parse_label_map, stem
from Training.datasets.protocol import Source

CHAOS = get_label_set("chaos_mr")


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_per_case_sorted_with_or_without_a_label(tmp_path: Path) -> None:
    touch(tmp_path, "b/ct.nii", "b/mask.nii", "a/ct.nii", "c/mask.nii", "d/other.nii", "ct.nii")
    assert find_sources(tmp_path, "ct.nii", "mask.nii") == [
        Source("a", tmp_path / "a/ct.nii", None), Source("b", tmp_path / "b/ct.nii", tmp_path / "b/mask.nii")]


def test_nnunet_layout(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/liver_1_0000.nii.gz", "labelsTr/liver_1.nii.gz", "imagesTr/._liver_1_0000.nii.gz",
          "imagesTr/a.nrrd", "imagesTr/notes.txt", "labelsTr/._a.nrrd", "case/image.nii.gz")
    assert find_sources(tmp_path, "image.nii.gz", "label.nii.gz") == [
        Source("a", tmp_path / "imagesTr/a.nrrd", None),
        Source("liver_1", tmp_path / "imagesTr/liver_1_0000.nii.gz", tmp_path / "labelsTr/liver_1.nii.gz")]


def test_a_folder_without_cases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"^There is no folder '.*none'; give the folder that holds the cases"):
        find_sources(tmp_path / "none", "ct.nii.gz", "")
    touch(tmp_path, "a/image.nii.gz")
    assert "neither sub-folders with 'ct.nii.gz' nor" in refusal(lambda: find_sources(tmp_path, "ct.nii.gz", ""))


@pytest.mark.parametrize(("name", "expected"), [
    ("a.nii.gz", "a"), ("a.b.nii", "a.b"), ("a.mhd", "a"), ("a.mha", "a"), ("a.nrrd", "a"), ("a.raw", ""),
    (".a.nii", ""), ("._a.nii.gz", ""), ("a.gz", ""),
])
def test_a_volumes_stem(name: str, expected: str) -> None:
    assert stem(Path("folder.nii", name)) == expected


def test_label_maps() -> None:
    assert parse_label_map("", CHAOS) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert parse_label_map("6=liver,12=spleen", CHAOS) == {6: 1, 12: 4}
    assert parse_label_map("1= liver, 2 =spleen", CHAOS) == {1: 1, 2: 4}


@pytest.mark.parametrize(("text", "message"), [
    ("liver", "'liver' is not NUMBER=ORGAN; write"), ("0=liver", "'0=liver' is not NUMBER=ORGAN"),
    ("-1=liver", "NUMBER=ORGAN"), ("1=liver,x=spleen", "'x=spleen' is not"), ("1=heart", "'heart' is not"),
])
def test_refuses_other_label_maps(text: str, message: str) -> None:
    assert message in refusal(lambda: parse_label_map(text, CHAOS))


def test_numbers_that_are_named_and_occur() -> None:
    check_label_numbers({1: "a", 2: "b"}, {1: 1, 2: 2, 3: 3}, explicit=False)  # nobody has the third organ
    check_label_numbers({1: "a", 7: "b"}, {1: 1}, explicit=True)  # what is left out becomes background
    check_label_numbers({}, {1: 1}, explicit=True)  # nothing is labelled yet


def test_a_number_without_a_name_is_refused_with_one_that_holds_it() -> None:
    said = refusal(lambda: check_label_numbers({9: "z.nii", 1: "a.nii", 5: "e.nii"}, {1: 1, 2: 2}, explicit=False))
    assert "hold [1, 5, 9] but the label set knows [1, 2] (5 is in 'e.nii')" in said


def test_a_name_without_a_number_is_refused() -> None:
    said = refusal(lambda: check_label_numbers({1: "a.nii"}, {1: 1, 7: 4, 6: 2}, explicit=True))
    assert said.startswith("--label-map names [6, 7] but the label volumes hold [1];")
