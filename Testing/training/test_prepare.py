from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.folders import SHARED
from Training.data.manifest import read_manifest
from Training.datasets.folder import find_sources, parse_label_map
from Training.datasets.protocol import Source
from Training.datasets.splits import parse_splits, random_splits
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


def test_nnunet_layout(cases, tmp_path):
    image, label = cases.add("x")
    for folder, name, volume in [("imagesTr", "liver_1_0000", image), ("labelsTr", "liver_1", label)]:
        (tmp_path / "nn" / folder).mkdir(parents=True)
        write_volume(volume, tmp_path / "nn" / folder / f"{name}.nii.gz")
    (tmp_path / "nn" / "imagesTr" / "._liver_1_0000.nii.gz").touch()
    (source,) = find_sources(tmp_path / "nn", "", "")
    assert source == Source("liver_1", tmp_path / "nn" / "imagesTr" / "liver_1_0000.nii.gz",
                            tmp_path / "nn" / "labelsTr" / "liver_1.nii.gz")


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


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: Volume(v.array[1:], v.spacing, v.origin, v.direction), "resample the label"),
    (lambda v: Volume(v.array, (1.5, 1.5, 4.9), v.origin, v.direction), "the spacing of the label"),
    (lambda v: Volume(v.array, v.spacing, (11.0, -20.0, 30.0), v.direction), "the origin of the label"),
    (lambda v: Volume(v.array, v.spacing, v.origin, (-1, 0, 0, 0, -1, 0, 0, 0, 1)), "the direction of the label"),
    (lambda v: v.with_array(v.array * np.float32(0.5)), "no label numbers"),
])
def test_refuses_a_label_that_does_not_fit(cases, tmp_path, change, message):
    image, label = cases.add("a")
    cases.write("b", image.with_array(image.array + 1), change(label))
    with pytest.raises(ValueError, match=f"Case 'b'.*{message}"):
        cases.manifest(tmp_path / "out", train="a,b")


def test_says_which_cases_and_folders_are_missing(cases, tmp_path):
    cases.add("a")
    with pytest.raises(SystemExit, match="name z but the folder holds a"):
        main(_command(tmp_path, "--split", "train=a,z"))
    with pytest.raises(SystemExit, match=r"neither sub-folders with 'ct\.nii\.gz'"):
        main(_command(tmp_path, "--image", "ct.nii.gz"))
    with pytest.raises(FileNotFoundError, match="no folder"):
        find_sources(tmp_path / "none", "", "")


def test_split_lists():
    assert parse_splits(["train=1,2", "test=3"]) == {"1": "train", "2": "train", "3": "test"}
    with pytest.raises(ValueError, match="list it once"):
        parse_splits(["train=1", "test=1"])
    with pytest.raises(ValueError, match="Unknown split in 'dev=1'"):
        parse_splits(["dev=1"])


def test_random_splits_are_seeded_and_keep_their_shares():
    sources = [Source(f"{n:02d}", Path("i"), Path("l") if n < 20 else None) for n in range(23)]
    split_of = random_splits(sources, (0.7, 0.15, 0.15), seed=3)
    assert Counter(split_of.values()) == {"train": 14, "validation": 3, "test": 3, "unlabelled": 3}
    assert split_of == random_splits(sources[::-1], (0.7, 0.15, 0.15), seed=3)
    assert split_of != random_splits(sources, (0.7, 0.15, 0.15), seed=4)
    assert sorted(random_splits(sources[:3], (0.7, 0.15, 0.15), 0).values()) == ["test", "train", "validation"]
    assert set(random_splits(sources[:1], (1.0, 0.0, 0.0), 0).values()) == {"train"}
    with pytest.raises(ValueError, match="too few"):
        random_splits(sources[:2], (0.7, 0.15, 0.15), 0)
    with pytest.raises(ValueError, match="shares of 1"):
        random_splits(sources, (0.7, 0.1, 0.1), 0)


def test_label_maps():
    labels = get_label_set("chaos_mr")
    assert parse_label_map("", labels) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert parse_label_map("6=liver,12=spleen", labels) == {6: 1, 12: 4}
    for text, message in [("liver", "NUMBER=ORGAN"), ("0=liver", "NUMBER=ORGAN"), ("1=heart", "'heart' is not")]:
        with pytest.raises(ValueError, match=message):
            parse_label_map(text, labels)


@pytest.mark.skipif(not CHAOS.is_dir(), reason="needs ../shared/data/chaos_mr_t2, which is not part of the repository")
def test_real_cases(tmp_path):
    main(["--input", str(CHAOS), "--output", str(tmp_path), "--labels", "chaos_mr", "--modality", "MR",
          "--image", "mr.nii.gz", "--split", "train=01,02", "test=31"])
    manifest = read_manifest(tmp_path / "manifest.json")
    assert [case.id for case in manifest.cases] == ["01", "02", "31"]
    assert all(case.spacing[2] > 5 for case in manifest.cases)
