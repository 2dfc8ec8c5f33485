from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from SAMoraLib.preprocessing.settings import Preprocessing
from Training.data.manifest import check_unchanged, read_manifest, relabel, write_manifest
from Training.data.slices import IGNORED, SliceDataset, build_cache


@pytest.fixture
def manifest(cases, tmp_path):
    for seed, case in enumerate("abc"):
        cases.add(case, seed)
    return cases.manifest(tmp_path / "out", train="a,b", test="c")


def test_comes_back_as_written(manifest, tmp_path):
    assert read_manifest(tmp_path / "out" / "manifest.json") == manifest
    assert [case.id for case in manifest.of("train")] == ["a", "b"]
    assert [case.id for case in manifest.of("test", "train")] == ["a", "b", "c"]
    assert manifest.image_path(manifest.cases[0]).is_file()


def test_holds_no_absolute_path(manifest, tmp_path):
    text = (tmp_path / "out" / "manifest.json").read_text(encoding="utf-8")
    assert str(tmp_path) not in text
    assert "../data/a/image.nii.gz" in text


def test_data_and_manifest_may_move_together(manifest, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "data").rename(moved / "data")
    (tmp_path / "out").rename(moved / "out")
    again = read_manifest(moved / "out" / "manifest.json")
    check_unchanged(again, again.cases[0])


def test_notices_changed_and_missing_files(manifest):
    case = manifest.cases[0]
    check_unchanged(manifest, case)
    manifest.label_path(case).write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed"):
        check_unchanged(manifest, case)
    manifest.image_path(case).unlink()
    with pytest.raises(FileNotFoundError, match="is gone"):
        check_unchanged(manifest, case)


def test_refuses_the_same_image_in_two_splits(manifest):
    train, *_, test = manifest.cases
    copy = replace(test, voxels_sha256=train.voxels_sha256)
    with pytest.raises(ValueError, match=r"'a' \(train\) and 'c' \(test\)"):
        replace(manifest, cases=(train, copy))
    replace(manifest, cases=(train, replace(copy, split="train")))


def test_refuses_broken_rules(manifest):
    case = manifest.cases[0]
    for wrong, message in [({"split": "dev"}, "choose from train"), ({"label": None}, "has no label")]:
        with pytest.raises(ValueError, match=message):
            replace(manifest, cases=(replace(case, **wrong),))
    with pytest.raises(ValueError, match="Two cases"):
        replace(manifest, cases=(case, case))
    with pytest.raises(ValueError, match="no case in the split validation"):
        manifest.of("validation")
    with pytest.raises(ValueError, match="Unknown modality 'PET'"):
        replace(manifest, modality="PET")


@pytest.mark.parametrize("change", [
    lambda data: data.pop("cases"),
    lambda data: data["cases"][0].pop("image_sha256"),
    lambda data: data["cases"][0].update(colour="red"),
    lambda data: data.update(format_version=99),
    lambda data: data.update(label_map=[1]),
])
def test_says_what_is_wrong_with_a_file(manifest, tmp_path, change):
    path = tmp_path / "out" / "manifest.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ValueError, match=r"Training\.prepare"):
        read_manifest(path)


def test_refuses_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifest"):
        read_manifest(tmp_path / "none.json")
    (tmp_path / "x.json").write_text("[not json", encoding="utf-8")
    with pytest.raises(ValueError, match="is not a manifest"):
        read_manifest(tmp_path / "x.json")


def test_relabel_maps_and_drops():
    source = np.array([[0, 1, 2], [52, 6, 200]], dtype=np.float32)
    found = relabel(source, {1: 1, 52: 7, 6: 6, 300: 2})
    assert found.dtype == np.uint8
    assert found.tolist() == [[0, 1, 0], [7, 6, 0]]


def test_slices_to_train_on(manifest, tmp_path):
    listed = replace(manifest, cases=(replace(manifest.cases[0], slices=(0, 5)), *manifest.cases[1:]))
    write_manifest(listed, tmp_path / "out" / "listed.json")
    assert read_manifest(tmp_path / "out" / "listed.json") == listed
    assert '"slices"' not in (tmp_path / "out" / "manifest.json").read_text()  # files of before stay as they were
    for wrong in ((), (3, 99), (-1,)):
        with pytest.raises(ValueError, match=f"'a' lists {len(wrong)} slices"):
            replace(manifest, cases=(replace(manifest.cases[0], slices=wrong),))


def test_training_sees_the_listed_slices_alone(manifest, tmp_path):
    train = tuple(replace(case, slices=(1, 3)) for case in manifest.of("train"))
    cache = build_cache(manifest, train, Preprocessing("CT", "hu_window", -125, 275, "none", 16), tmp_path / "cache")
    assert [(cache.refs[at].case, cache.refs[at].number) for at in cache.listed] == [
        ("a", 1), ("a", 3), ("b", 1), ("b", 3)]
    assert SliceDataset(cache).indexes == list(cache.listed) and len(cache) == 12
    _, labels = SliceDataset(cache, depth=3)[0, 0]  # slice 1 with its neighbours, whose labels were not listed
    assert [bool((label == IGNORED).all()) for label in labels] == [True, False, True]
