from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.refusals import refusal
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


def changed(path, change):
    """The sentence about the manifest at ``path`` with its data changed."""
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return refusal(lambda: read_manifest(path))


@pytest.mark.parametrize(("field", "value", "cause"), [
    ("id", 3, "id of case 0 is 3 instead of text"), ("id", None, "id of case 0 is null instead of text"),
    ("split", ["train"], "split of case 0 is a list"), ("image", {}, "image of case 0 is a table instead of text"),
    ("label", 3, "label of case 0 is 3"), ("shape", 6, "shape of case 0 is 6 instead of a list"),
    ("shape", [6, "40", 48], "item 1 of shape of case 0 is '40' instead of a whole number"),
    ("shape", [6.5, 40, 48], "item 0 of shape of case 0 is 6.5"), ("shape", [6, True, 48], "item 1 of shape"),
    ("spacing", "1", "spacing of case 0 is '1'"), ("spacing", [1, None, 1], "item 1 of spacing of case 0 is null"),
    ("slices", 3, "slices of case 0 is 3"), ("slices", [1.5], "item 0 of slices"),
    ("slices", [[1]], "item 0 of slices"),
    ("voxels_sha256", 3, "voxels_sha256 of case 0 is 3"), ("label_sha256", [1], "label_sha256 of case 0 is a list"),
    ("colour", "red", "case 0 has the unknown field 'colour'"),
])
def test_wrong_types_in_a_case_are_refused_in_a_sentence(manifest, tmp_path, field, value, cause):
    said = changed(tmp_path / "out" / "manifest.json", lambda data: data["cases"][0].update({field: value}))
    assert f"manifest.json' is not a manifest ({cause}" in said and said.endswith("python -m Training.prepare.")


@pytest.mark.parametrize(("change", "cause"), [
    ({"cases": 3}, "cases of it is 3 instead of a list"), ({"cases": [3]}, "case 0 is 3 instead of a table"),
    ({"modality": 3}, "modality of it is 3 instead of text"), ({"labels": ["x"]}, "labels of it is a list"),
    ({"label_map": {"1": "2"}}, "label_map's '1' is '2' instead of a whole number"),
    ({"label_map": {"x": 1}}, "label_map has 'x' in place of a number"),
    ({"more": 1}, "it has the unknown field 'more'"),
    ({"label_map": {"-1": 1}}, "label_map has '-1'"), ({"label_map": {"1" * 5000: 1}}, "label_map has '111"),
    ({"label_map": {"1": True}}, "label_map's '1' is True"), ({"label_map": [1]}, "label_map of it is a list"),
])
def test_wrong_types_in_the_rest_too(manifest, tmp_path, change, cause):
    said = changed(tmp_path / "out" / "manifest.json", lambda data: data.update(change))
    assert f"manifest.json' is not a manifest ({cause}" in said


@pytest.mark.parametrize(("change", "message"), [
    ({"shape": [10**18, 40, 48]}, "has the shape (1000000000000000000, 40, 48)"),
    ({"shape": [6, 40]}, "has the shape (6,"),
    ({"shape": [0, 40, 48]}, "has the shape (0, 40, 48)"), ({"shape": [-6, 40, 48]}, "has the shape"),
    ({"spacing": [1.5, 1.5]}, "has the spacing (1.5, 1.5)"), ({"spacing": [1.5, 0, 5]}, "has the spacing"),
    ({"spacing": [1.5, -1.5, 5]}, "has the spacing"), ({"spacing": [1.5, 1e300, 5]}, "has the spacing"),
    ({"slices": [0, 10**18]}, "'a' lists 2 slices, some outside"), ({"slices": [-1]}, "'a' lists 1 slices"),
    ({"image_sha256": "x" * 64}, "in place of a SHA-256"), ({"voxels_sha256": ""}, "has '' in place of a SHA-256"),
    ({"label_sha256": None}, "has None in place of a SHA-256"), ({"image_sha256": "A" * 64}, "in place of a SHA-256"),
    ({"image": "/etc/passwd"}, "lies at '/etc/passwd', which is no path from the manifest's folder"),
    ({"image": ""}, "lies at ''"), ({"image": "a\0b"}, "lies at 'a\\x00b'"),
    ({"label": "\\\\server\\share\\x"}, "lies at"),
    ({"label": "C:\\x.nii"}, "lies at"), ({"label": "C:x.nii"}, "lies at"), ({"image": "//server/x"}, "lies at"),
    *(({"id": name}, "is not called by a plain name") for name in
      ("../../evil", "a/b", "a\\b", "", ".", "..", ".a", "a\nb", "a\x1b[31m", "C:a", "x" * 201, "é" * 101)),
])
def test_a_case_beyond_all_bounds_is_refused_in_a_sentence(manifest, tmp_path, change, message):
    assert message in changed(tmp_path / "out" / "manifest.json", lambda data: data["cases"][0].update(change))


@pytest.mark.parametrize(("fields", "beyond"), [
    ({"shape": (1, 65536, 3)}, {"shape": (1, 65537, 3)}), ({"shape": (2, 3, 1)}, {"shape": (2, 3, 0)}),
    ({"spacing": (0.01, 0.7, 1e4)}, {"spacing": (0.01, 0.7, 10000.5)}),
    ({"slices": (0,)}, {"slices": (-1, 0)}), ({"slices": (47, 0)}, {"slices": (48, 0)}),
    ({"image": "../x/a b.nii"}, {"image": "/x"}),
])
def test_a_case_at_a_bound_is_taken_and_one_beyond_it_is_not(manifest, fields, beyond):
    case = manifest.cases[0]
    for name, value in fields.items():
        assert getattr(replace(manifest, cases=(replace(case, **fields),)).cases[0], name) == value
    assert "Case 'a'" in refusal(lambda: replace(manifest, cases=(replace(case, **beyond),)))


@pytest.mark.parametrize(("number", "value"), [(0, 0), (2**24, 1), (7, 0), (5, 4)])
def test_a_label_map_may_name_any_number_and_the_background(manifest, number, value):
    assert replace(manifest, label_map={number: value}).label_map == {number: value}
    assert "The label map takes" in refusal(lambda: replace(manifest, label_map={number: 5}))


@pytest.mark.parametrize(("number", "value"), [(1, 99), (1, -1), (1, 256), (10**8, 1), (2**24 + 1, 1)])
def test_a_label_map_leads_into_the_label_set(manifest, tmp_path, number, value):
    said = changed(tmp_path / "out" / "manifest.json", lambda data: data.update(label_map={str(number): value}))
    assert f"The label map takes {number} to {value}, but" in said


@pytest.mark.parametrize("name", ["a", "01", "Fall 3", "é名", "a.b-c_d", "2024-01-01T10:30", "x" * 200, "a\udcff"])
def test_plain_names_of_cases(manifest, name):
    assert replace(manifest, cases=(replace(manifest.cases[0], id=name),)).cases[0].id == name


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"3", b"[" * 100_000, b'{"a": 1, "a": 2}', b"\xff", b"{",
                                     b'{"format_version": 1e999}', b'{"format_version": true}', b'{"cases": NaN}'])
def test_what_is_no_manifest_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    assert "Training.prepare" in refusal(lambda: read_manifest(tmp_path / "x.json"))


def test_relabel_takes_any_number():
    source = np.array([-5, 0, 1, 2, 3, 2**62], dtype=np.int64)
    assert relabel(source, {0: 3, 1: 1, 2: 2}).tolist() == [0, 3, 1, 2, 0, 0]
    assert relabel(source, {}).tolist() == [0] * 6


def test_a_case_by_its_name(cases, tmp_path):
    for seed, name in enumerate("ab"):
        cases.add(name, seed)
    manifest = cases.manifest(tmp_path, train="a", test="b")
    assert manifest.by_id("b").id == "b" and manifest.by_id("b").split == "test"
    assert refusal(lambda: manifest.by_id("c")).endswith("has no case 'c'; choose from a, b.")
