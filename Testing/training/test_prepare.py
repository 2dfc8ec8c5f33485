from __future__ import annotations

import pytest

from SAMoraLib.volume import Volume
from Testing.folders import SHARED
from Training.data.manifest import read_manifest
from Training.prepare import main

CHAOS = SHARED / "data" / "chaos_mr_t2"


def _command(tmp_path, *more):
    return ["--input", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--labels", "chaos_mr",
            "--modality", "MR", *more]


def test_from_folders_to_manifest(cases, tmp_path, capsys):
    for seed, case in enumerate("abcd"):
        cases.add(case, seed)
    main(_command(tmp_path, "--split", "train=a,b", "validation=c"))
    manifest = read_manifest(tmp_path / "out" / "manifest.json")
    assert [(case.id, case.split) for case in manifest.cases] == [("a", "train"), ("b", "train"), ("c", "validation")]
    case = manifest.cases[0]
    assert case.shape == (6, 40, 48)
    assert case.spacing == pytest.approx((1.5, 1.5, 5.0))
    assert manifest.label_map == {1: 1, 2: 2, 3: 3, 4: 4}
    assert "2 train, 1 validation, 1 left out" in capsys.readouterr().out


def test_numbers_of_other_data_sets(cases, tmp_path):
    cases.add("a", numbers=(5, 3, 2, 52))
    with pytest.raises(SystemExit, match=r"hold \[2, 3, 5, 52\] but the label set knows \[1, 2, 3, 4\]"):
        main(_command(tmp_path, "--split", "train=a"))
    main(_command(tmp_path, "--split", "train=a", "--label-map", "5=liver,2=right_kidney,3=left_kidney"))
    assert read_manifest(tmp_path / "out" / "manifest.json").label_map == {5: 1, 2: 2, 3: 3}
    with pytest.raises(SystemExit, match=r"names \[7\] but"):
        main(_command(tmp_path, "--split", "train=a", "--label-map", "7=liver"))


def test_unlabelled_cases_need_no_label(cases, tmp_path):
    image, _ = cases.add("a")
    cases.write("b", image.with_array(image.array + 1), None)
    manifest = cases.manifest(tmp_path / "out", train="a", unlabelled="b")
    assert manifest.of("unlabelled")[0].label is None
    with pytest.raises(ValueError, match="'b' of the split test has no label"):
        cases.manifest(tmp_path / "out", train="a", test="b")


def test_finds_a_reoriented_copy_in_another_split(cases, tmp_path):
    image, label = cases.add("a")
    flipped = Volume(image.array[:, ::-1, ::-1].copy(), image.spacing, (80.5, 38.5, 30.0),
                     (-1, 0, 0, 0, -1, 0, 0, 0, 1))
    cases.write("b", flipped, Volume(label.array[:, ::-1, ::-1].copy(), flipped.spacing, flipped.origin,
                                     flipped.direction))
    with pytest.raises(ValueError, match="same image is in several splits"):
        cases.manifest(tmp_path / "out", train="a", test="b")


def test_says_which_cases_and_folders_are_missing(cases, tmp_path):
    cases.add("a")
    with pytest.raises(SystemExit, match="name z but the folder holds a"):
        main(_command(tmp_path, "--split", "train=a,z"))
    with pytest.raises(SystemExit, match=r"neither sub-folders with 'ct\.nii\.gz'"):
        main(_command(tmp_path, "--image", "ct.nii.gz"))
    with pytest.raises(SystemExit, match="no folder"):
        main([*_command(tmp_path), "--input", str(tmp_path / "none")])


@pytest.mark.skipif(not CHAOS.is_dir(), reason="needs ../shared/data/chaos_mr_t2, which is not part of the repository")
def test_real_cases(tmp_path):
    main(["--input", str(CHAOS), "--output", str(tmp_path), "--labels", "chaos_mr", "--modality", "MR",
          "--image", "mr.nii.gz", "--split", "train=01,02", "test=31"])
    manifest = read_manifest(tmp_path / "manifest.json")
    assert [case.id for case in manifest.cases] == ["01", "02", "31"]
    assert all(case.spacing[2] > 5 for case in manifest.cases)
