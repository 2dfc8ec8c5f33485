from __future__ import annotations

import os
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.slicer.full_disk import full_disk
from Training.data import slices
from Training.data.augment import DEFAULT, noisy_and_clean
from Training.data.slices import SliceCache, SliceDataset, ViewDataset, build_cache
from Training.objectives.losses import low_res_label

CT = Preprocessing("CT", "hu_window", -100, 200, "none", 64)


@pytest.fixture
def manifest(cases, tmp_path):
    cases.add("a", 0)
    cases.add("b", 1)
    return cases.manifest(tmp_path / "out", train="a,b")


@pytest.fixture
def cache(manifest, tmp_path):
    return build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")


def test_slices_of_all_cases_in_order(cache):
    assert len(cache) == 12
    assert cache.cases == ("a",) * 6 + ("b",) * 6
    assert [ref.number for ref in cache.refs] == [*range(6)] * 2
    [image], label = cache.image(2), cache.label(2)
    assert (image.shape, image.dtype) == ((64, 64), np.float32)
    assert (label.shape, label.dtype) == ((64, 64), np.uint8)
    assert set(np.unique(label)) == {0, 1, 2, 3, 4}
    # Air, then brighter with the label's number: image and label lie on each other.
    means = [image[label == value].mean() for value in (1, 2, 3, 4)]
    assert image.min() == 0
    assert means == sorted(means)
    assert means[3] == pytest.approx((60 + 80 + 100) / 300, abs=0.04)


def test_orientation_does_not_matter(cases, tmp_path):
    image, label = cases.add("a")
    flip = (slice(None, None, -1), slice(None), slice(None, None, -1))
    turned = replace(image, array=image.array[flip].copy(), direction=(-1, 0, 0, 0, 1, 0, 0, 0, -1),
                     origin=(10 + 47 * 1.5, -20.0, 30 + 5 * 5.0))
    cases.write("b", turned, turned.with_array(label.array[flip].copy()))
    manifest = cases.manifest(tmp_path / "out", train="a,b")
    cache = build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    for number in range(6):
        assert np.array_equal(cache.image(number), cache.image(number + 6))
        assert np.array_equal(cache.label(number), cache.label(number + 6))


def test_is_built_once(manifest, cache, tmp_path):
    shutil.rmtree(tmp_path / "data")
    again = build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert np.array_equal(again.image(7), cache.image(7))
    with pytest.raises(FileNotFoundError, match="is gone"):
        build_cache(manifest, manifest.of("train"), replace(CT, high=250), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_refuses_data_that_changed(manifest, tmp_path):
    manifest.label_path(manifest.cases[0]).write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed"):
        build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")


def test_a_label_map_makes_another_entry(cases, tmp_path):
    cases.add("a", numbers=(5, 1, 2, 9))
    caches = []
    for label_map in ("5=liver", "1=liver"):
        manifest = cases.manifest(tmp_path / "out", label_map, train="a")
        caches.append(build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache"))
    first, second = (cache.label(2) for cache in caches)
    assert set(np.unique(first)) == set(np.unique(second)) == {0, 1}
    assert not np.any(first & second)


def test_unlabelled_cases_have_images_alone(cases, tmp_path):
    image, _ = cases.add("a")
    cases.write("b", image.with_array(image.array + 1), None)
    manifest = cases.manifest(tmp_path / "out", train="a", unlabelled="b")
    build_cache(manifest, manifest.of("train", "unlabelled"), CT, tmp_path / "cache")
    manifest.image_path(manifest.of("unlabelled")[0]).unlink()  # what is there is taken
    cache = build_cache(manifest, manifest.of("train", "unlabelled"), CT, tmp_path / "cache")
    views = ViewDataset(cache, noisy_and_clean)
    assert len(views) == 12
    noisy, clean = views[0, 9]
    assert noisy.shape == clean.shape == (1, 1, 64, 64)
    assert np.array_equal(clean[:, 0], cache.image(9))
    with pytest.raises(FileNotFoundError):
        cache.label(9)


def test_items_have_the_models_shapes(cache):
    image, label = SliceDataset(cache)[0, 3]
    assert (image.shape, image.dtype) == ((1, 1, 64, 64), torch.float32)
    assert (label.shape, label.dtype) == ((1, 64, 64), torch.int64)
    assert np.array_equal(image[:, 0], cache.image(3))
    assert np.array_equal(label[0], cache.label(3))


def test_neighbours_fill_the_outer_channels_within_the_case(manifest, cache, tmp_path):
    beside = build_cache(manifest, manifest.of("train"), replace(CT, neighbours=9.0), tmp_path / "cache")
    alone = np.stack([cache.image(index)[0] for index in range(12)])
    for index, below, above in ((2, 0, 4), (1, 0, 3), (5, 3, 5), (6, 6, 8)):  # slices are 5 mm apart, six to a case
        assert np.array_equal(beside.image(index), alone[[below, index, above]])
    image, label = SliceDataset(beside)[0, 2]
    assert image.shape == (3, 1, 64, 64)
    assert np.array_equal(label[0], cache.label(2))
    assert ViewDataset(beside, noisy_and_clean)[0, 2][0].shape == (3, 1, 64, 64)


def test_augmentation_depends_on_seed_epoch_and_slice_alone(cache):
    policy = replace(DEFAULT, affine=1.0)
    whole = SliceDataset(cache, seed=5, policy=policy)
    image, label = whole[2, 7]
    again = SliceDataset(cache, seed=5, policy=policy)
    _ = again[0, 0]  # what was asked for before does not matter
    assert torch.equal(again[2, 7][0], image)
    assert torch.equal(again[2, 7][1], label)
    few = SliceDataset(cache, [1, 7], seed=5, policy=policy)
    assert len(few) == 2
    assert torch.equal(few[2, 1][0], image)
    assert not torch.equal(whole[3, 7][0], image)
    assert not torch.equal(SliceDataset(cache, seed=6, policy=policy)[2, 7][0], image)


def test_views_are_reproducible_too(cache):
    view = partial(noisy_and_clean, sigma=0.1)
    first, second = ViewDataset(cache, view, seed=1), ViewDataset(cache, view, seed=1)
    assert torch.equal(first[4, 3][0], second[4, 3][0])
    assert not torch.equal(first[4, 3][0], first[5, 3][0])


@pytest.mark.parametrize(("side", "size"), [(224, 56), (512, 128), (192, 48), (160, 80), (64, 64), (30, 7)])
def test_low_res_labels_are_samed_s(side, size):
    label = np.random.default_rng(side).integers(0, 9, (2, 1, side, side))
    expected = np.stack([zoom(slice_[0], size / side, order=0)[None] for slice_ in label])
    assert np.array_equal(low_res_label(torch.from_numpy(label), size), expected)


GRID = Preprocessing("CT", "hu_window", -100, 200, "none", 32, spacing=4.0)


def damage(entry, how):
    """What a disk or a person may do to a finished entry."""
    images = entry / "images.npy"
    content = bytearray(images.read_bytes())
    if how == "cut":
        images.write_bytes(content[:-100])
    elif how == "empty":
        images.write_bytes(b"")
    elif how == "zeroed":
        images.write_bytes(content[:200] + bytes(len(content) - 200))
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        images.write_bytes(content)
    elif how == "label":
        labels = bytearray((entry / "labels.npy").read_bytes())
        labels[-9] ^= 1
        (entry / "labels.npy").write_bytes(labels)
    elif how in ("images.npy", "labels.npy", "offsets.npy"):
        (entry / how).unlink()
    elif how == "checksums":
        (entry / "checksums.json").write_bytes(b"{")
    elif how == "all":
        for path in entry.iterdir():
            path.unlink()
    elif how == "file":
        shutil.rmtree(entry)
        entry.write_bytes(b"")


DAMAGES = ("cut", "empty", "zeroed", "flipped", "label", "images.npy", "labels.npy", "offsets.npy", "checksums", "all",
           "file")


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("preprocessing", [CT, GRID], ids=["slices", "grid"])
def test_a_damaged_entry_is_computed_anew(manifest, tmp_path, how, preprocessing, capsys):
    def build():
        return build_cache(manifest, manifest.of("train"), preprocessing, tmp_path / "cache")

    whole = build()
    expected = [(whole.image(at), whole.label(at)) for at in range(len(whole))]
    entry, other = whole.refs[0].folder, whole.refs[-1].folder
    kept = (other / "images.npy").stat().st_mtime_ns
    damage(entry, how)
    again = build()
    assert len(again) == len(expected)
    for at, (image, label) in enumerate(expected):
        assert np.array_equal(again.image(at), image) and np.array_equal(again.label(at), label)
    assert f"'{entry}' was damaged, and is computed anew." in capsys.readouterr().err
    assert (other / "images.npy").stat().st_mtime_ns == kept, "the other one was not touched"
    build()
    assert "damaged" not in capsys.readouterr().err
    names = sorted(path.name for path in entry.iterdir())
    assert names == ["checksums.json", "images.npy", "labels.npy", "offsets.npy"]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_an_entry_of_other_arrays_is_computed_anew(manifest, tmp_path):
    """With checksums that fit, as a person could make them."""
    entry = build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache").refs[0].folder
    whole, labels = np.load(entry / "images.npy"), np.load(entry / "labels.npy")
    for name, array in (("images", whole.astype(np.float64)), ("images", whole[:, 1:]), ("images", whole[:0]),
                        ("images", whole[0]), ("labels", np.zeros((2, 2, 2), np.uint8)),
                        ("labels", labels.astype(np.int16)), ("offsets", np.zeros((2, 2))),
                        ("offsets", np.zeros(5, int)), ("offsets", np.zeros(1))):
        np.save(entry / f"{name}.npy", array)
        (entry / "checksums.json").unlink()
        build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
        assert np.array_equal(np.load(entry / "images.npy"), whole)
        again = np.load(entry / "labels.npy")
        assert np.array_equal(again, labels) and again.dtype == np.uint8
        assert np.load(entry / "offsets.npy").tolist() == [0] and np.load(entry / "offsets.npy").dtype.kind == "i"


def test_an_entry_from_before_there_were_checksums_is_kept_and_gets_them(manifest, tmp_path, capsys):
    cache = build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    entry, written = cache.refs[0].folder, (cache.refs[0].folder / "images.npy").stat().st_mtime_ns
    (entry / "checksums.json").unlink()
    build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert (entry / "images.npy").stat().st_mtime_ns == written and (entry / "checksums.json").is_file()
    damage(entry, "flipped")
    build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert "was damaged" in capsys.readouterr().err


def test_a_full_disk_names_the_entry_that_was_wanted(manifest, tmp_path):
    with full_disk(20_000), pytest.raises(OSError, match=r"cache/a-[0-9a-f]{16}' could not be written; check that the"):
        build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_killed_process_left_is_removed_when_it_is_old(manifest, tmp_path):
    left = tmp_path / "cache" / ".samora_abc"
    left.mkdir(parents=True)
    build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert left.is_dir()
    os.utime(left, (0, 0))
    build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert not left.exists()


def test_only_listed_slices_train_and_a_case_without_a_list_has_all(cache):
    folders = {ref.case: ref.folder for ref in cache.refs}
    some = SliceCache(folders, {"b": (4, 1)})
    assert some.listed == (0, 1, 2, 3, 4, 5, 7, 10) and len(some) == 12
    assert SliceDataset(some).indexes == list(some.listed) and len(ViewDataset(some, noisy_and_clean)) == 8
    assert SliceCache(folders, {"a": (), "b": (5,)}).listed == (11,)
    assert SliceCache(folders).listed == cache.listed == tuple(range(12))


def test_the_draws_without_a_seed_are_those_of_seed_0(cache):
    policy = replace(DEFAULT, affine=1.0)
    assert torch.equal(SliceDataset(cache, policy=policy)[1, 2][0], SliceDataset(cache, seed=0, policy=policy)[1, 2][0])
    alone, seeded = (ViewDataset(cache, noisy_and_clean, *seed)[1, 2][0] for seed in ((), (0,)))
    assert torch.equal(alone, seeded)
    rng = np.random.default_rng([0, 1, 2])
    assert torch.equal(alone[:, 0], noisy_and_clean(torch.from_numpy(cache.image(2)), rng)[0])


def test_further_masks_move_as_the_labels_do(cache):
    moving = SliceDataset(cache, policy=replace(DEFAULT, affine=1.0, elastic=1.0), depth=3)
    outlines = np.stack([cache.label(number) for number in (1, 2)])
    image, label, moved = moving.with_outlines((3, 2), outlines)
    assert image.shape == (1, 3, 64, 64) and label.shape == (3, 64, 64) and moved.shape == (2, 64, 64)
    assert torch.equal(moved.long(), label[:2]) and not np.array_equal(moved[0], outlines[0])


def test_a_slab_lies_around_its_slice_and_ends_with_its_case(cache):
    assert cache.slab(8, 5).tolist() == [6, 7, 8, 9, 10] and cache.slab(8, 4).tolist() == [6, 7, 8, 9]
    assert cache.slab(1, 5).tolist() == [0, 0, 1, 2, 3] and cache.slab(11, 3).tolist() == [10, 11, 11]


def test_an_outline_is_that_of_all_slices_of_the_case(cache):
    for index in (7, 11):
        outline = cache.outline(index, 3)
        assert outline.dtype == np.uint8
        assert np.array_equal(outline, np.any([cache.label(number) == 3 for number in range(6, 12)], axis=0))


def test_a_bar_is_shown_only_where_something_is_computed(manifest, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(slices, "tqdm", lambda missing, disable, **_: shown.append((len(missing), disable)) or missing)
    for _ in range(2):
        build_cache(manifest, manifest.of("train"), CT, tmp_path / "cache")
    assert shown == [(2, None), (0, True)]
