"""Sampling: each content once, spread over cases, nothing of a case that is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from Testing.folders import SHARED
from Testing.training.unlabelled_volumes import data_set, tissue
from Training.data import unlabelled
from Training.data.manifest import Manifest
from Training.data.unlabelled import NEAR, STEP, WORDS, Seen, fingerprint, fingerprints, sample_slices
from Training.datasets.protocol import Source
from Training.prepare import prepare

DATA = SHARED / "data"
def _sample(tmp_path: Path, manifests: list[Manifest], count: int, seed: int = 0):
    return sample_slices(manifests, count, seed, tmp_path / "out", tmp_path / "cache")


def test_spreads_over_the_cases_of_all_data_sets(tmp_path: Path) -> None:
    first = data_set(tmp_path / "lits", {"a": tissue(1), "b": tissue(2)})
    second = data_set(tmp_path / "amos", {"a": tissue(3)})
    sample = _sample(tmp_path, [first, second], 12)
    assert [case.id for case in sample.manifest.cases] == ["lits_a", "lits_b", "amos_a"]
    assert [len(case.slices or ()) for case in sample.manifest.cases] == [4, 4, 4]
    assert {case.split for case in sample.manifest.cases} == {"unlabelled"}
    assert (sample.copies, sample.without_body, sample.near_duplicates) == (0, 3, 0)
    assert sample == _sample(tmp_path, [first, second], 12) != _sample(tmp_path, [first, second], 12, seed=1)


def test_takes_a_volume_that_comes_twice_once(tmp_path: Path) -> None:
    turned = Volume(tissue(1).array[::-1].copy(), (1.0, 1.0, 5.0), (0.0, 0.0, 35.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    sample = _sample(tmp_path, [data_set(tmp_path / "lits", {"a": tissue(1)}),
                                data_set(tmp_path / "msd", {"x": turned, "y": tissue(2)})], 14)
    assert [case.id for case in sample.manifest.cases] == ["lits_a", "msd_y"]
    assert sample.copies == 1 and sample.near_duplicates == 0


def test_knows_a_resampled_cut_or_noisy_copy(tmp_path: Path) -> None:
    volume = tissue(1)
    fine = replace(volume, array=ndimage.zoom(volume.array, (1, 2, 2), order=1))
    cut = replace(volume, array=volume.array[2:5])
    noisy = volume.with_array(volume.array + np.random.default_rng(0).integers(-4, 5, volume.array.shape))
    sample = _sample(tmp_path, [data_set(tmp_path / "a", {"a": volume, "z": tissue(2)}),
                                data_set(tmp_path / "b", {"fine": fine, "cut": cut, "noisy": noisy})], 14)
    assert sample.copies == 0 and sample.near_duplicates == 7 + 3 + 7
    assert [case.id for case in sample.manifest.cases] == ["a_a", "a_z"]


def test_thins_slices_that_hardly_differ(tmp_path: Path) -> None:
    thin = tissue(1)
    array = np.repeat(thin.array, 3, axis=0)
    sample = _sample(tmp_path, [data_set(tmp_path / "a", {"a": replace(thin, array=array)})], 7)
    assert sample.manifest.cases[0].slices == tuple(range(0, 21, 3)) and sample.near_duplicates == 14


def test_nothing_of_a_held_out_case_comes_back(tmp_path: Path) -> None:
    volume = tissue(1)
    held = data_set(tmp_path / "synapse", {"t": volume, "u": tissue(2)}, t="test")
    cut = replace(volume, array=volume.array[1:4])
    other = data_set(tmp_path / "lits", {"same": volume, "cut": cut, "new": tissue(3)})
    sample = _sample(tmp_path, [other, held], 14)
    assert [case.id for case in sample.manifest.cases] == ["lits_new", "synapse_u"]
    assert sample.copies == 1 and sample.near_duplicates == 3


def test_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    manifest = data_set(tmp_path / "a", {"a": tissue(1)})
    first = _sample(tmp_path, [manifest], 3)
    manifest.image_path(manifest.cases[0]).unlink()  # whoever reads it again fails
    assert _sample(tmp_path, [manifest], 3) == first


def test_only_listed_slices_are_drawn(tmp_path: Path) -> None:
    manifest = data_set(tmp_path / "a", {"a": tissue(1), "b": tissue(2)})
    first, second = manifest.cases
    listed = replace(manifest, cases=(replace(first, slices=(1, 4, 5)), second))
    sample = _sample(tmp_path, [listed], 10)
    assert [case.slices for case in sample.manifest.cases] == [(1, 4, 5), tuple(range(7))]
    assert sample.near_duplicates == 0 and sample.without_body == 2


@pytest.mark.parametrize(("share", "bright", "shown"), [(0.05, 0.11, True), (0.04, 0.11, False), (0.5, 0.1, False)])
def test_a_body_is_a_twentieth_of_a_slice_above_a_tenth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float,
                                                        bright: float, shown: bool) -> None:
    manifest = data_set(tmp_path / "a", {"a": tissue(1)})
    small = np.zeros((3, 1, 10, 10), np.float32)
    small.reshape(3, 100)[1, :round(100 * share)] = bright
    prepared = SimpleNamespace(array=small, slices=lambda low, high: small[low:high])
    monkeypatch.setattr(unlabelled, "prepare_volume", lambda *_: prepared)
    monkeypatch.setattr(unlabelled, "fingerprint", lambda slices: np.zeros((len(slices), WORDS), np.uint32))
    _, body = fingerprints(manifest, manifest.cases[0], tmp_path / "cache")
    assert body.tolist() == [False, shown, False]


def test_refuses_too_many_and_mixed(tmp_path: Path) -> None:
    manifest = data_set(tmp_path / "a", {"a": tissue(1)})
    for count in (8, 0, -1):
        with pytest.raises(ValueError, match=f"Cannot draw {count} of 7 different slices of 1 volumes"):
            _sample(tmp_path, [manifest], count)
    assert len(_sample(tmp_path, [manifest], 7).manifest.cases[0].slices or ()) == 7
    mr = replace(manifest, modality="MR")
    with pytest.raises(ValueError, match="CT and MR"):
        _sample(tmp_path, [manifest, mr], 3)


@pytest.mark.parametrize("bits", [0, 1, NEAR, NEAR + 1, 40])
def test_finds_every_fingerprint_within_the_distance(bits: int) -> None:
    rng = np.random.default_rng(bits)
    seen, prints = Seen(), rng.integers(0, 2**32, (20, WORDS), dtype=np.uint32)
    for one in prints:
        seen.add(one)
    for one in prints:
        changed = np.unpackbits(one.view(np.uint8))
        changed[rng.choice(len(changed), bits, replace=False)] ^= 1
        assert seen.is_near(np.packbits(changed).view(np.uint32)) == (bits <= NEAR)


def test_a_fingerprint_is_where_brightness_rises() -> None:
    ramp = np.tile(np.linspace(0, 1, 17, dtype=np.float32), (1, 17, 1))
    assert fingerprint(ramp).tolist() == [[2**32 - 1] * WORDS] and fingerprint(1 - ramp).tolist() == [[0] * WORDS]


def test_a_rise_counts_if_it_is_more_than_noise() -> None:
    flat = np.zeros((1, 17, 17), np.float32)
    for rise, expected in ((STEP, 0), (1.001 * STEP, 2**32 - 1), (0.5, 2**32 - 1), (-0.5, 0)):
        steep = flat + np.float32(rise) * np.arange(17, dtype=np.float32)
        assert fingerprint(steep).tolist() == [[expected] * WORDS], rise


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not part of the repository")
def test_patients_differ_and_copies_do_not(tmp_path: Path) -> None:
    """On real CTs: no slice of one patient is near one of another."""
    folders = {name: DATA / name for name in ("totalseg_example_ct_3mm", "totalseg_example_ct_dicom")}
    sources = [Source(name, folder / "ct.nii.gz", None) for name, folder in folders.items()]
    manifest = prepare(sources, dict.fromkeys(folders, "unlabelled"), tmp_path, "CT", get_label_set("liver"))
    both = _sample(tmp_path, [manifest], 1).near_duplicates
    alone = [_sample(tmp_path, [replace(manifest, cases=(case,))], 1).near_duplicates for case in manifest.cases]
    assert both == sum(alone)


@pytest.mark.parametrize("how", ["empty", "cut", "flipped", "other", "array"])
def test_damaged_fingerprints_are_computed_anew(tmp_path: Path, how: str) -> None:
    manifest = data_set(tmp_path / "a", {"a": tissue(1)})
    prints, body = fingerprints(manifest, manifest.cases[0], tmp_path / "cache")
    [path] = (tmp_path / "cache").iterdir()
    whole, middle = path.read_bytes(), path.read_bytes().index(prints.tobytes()) + 5
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]
    changed = {"empty": b"", "cut": whole[:-50], "flipped": flipped}
    if how == "other":
        np.savez(path, prints=prints[1:], body=body)
    elif how == "array":
        with path.open("wb") as file:
            np.save(file, prints)
    else:
        path.write_bytes(changed[how])
    again = fingerprints(manifest, manifest.cases[0], tmp_path / "cache")
    assert np.array_equal(again[0], prints) and np.array_equal(again[1], body)
    assert path.read_bytes()[:2] == b"PK"
