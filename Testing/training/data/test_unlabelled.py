"""Sampling: each content once, spread over cases, nothing of a case that is held out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from SAMoraLib.labels import get_label_set
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.folders import SHARED
from Training.data.augment import two_views
from Training.data.manifest import Manifest, read_manifest, write_manifest
from Training.data.slices import ViewDataset, build_cache
from Training.data.unlabelled import NEAR, WORDS, Seen, fingerprint, sample_slices
from Training.datasets.protocol import Source
from Training.prepare import prepare
from Training.sample_unlabelled import main

DATA = SHARED / "data"
DEPTH = 8


def _volume(seed: int) -> Volume:
    """Smooth tissue of -150 to 350 HU with another anatomy in every slice; air alone in the last."""
    noise = np.random.default_rng(seed).normal(size=(DEPTH, 40, 44))
    tissue = ndimage.gaussian_filter(noise, (0, 3, 3))
    array = (100 + 250 * tissue / np.abs(tissue).max()).astype(np.int16)
    array[-1] = -1000
    return Volume(array, (1.0, 1.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def _data_set(folder: Path, volumes: dict[str, Volume], **splits: str) -> Manifest:
    """A manifest without labels; held-out cases get one, since they must have it."""
    sources = []
    for name, volume in volumes.items():
        write_volume(volume, folder / f"{name}.nii.gz", compressed=False)
        write_volume(volume.with_array((volume.array > 0).astype(np.uint8)), folder / f"{name}_l.nii.gz")
        sources.append(Source(name, folder / f"{name}.nii.gz", folder / f"{name}_l.nii.gz"))
    split_of = {name: splits.get(name, "unlabelled") for name in volumes}
    manifest = prepare(sources, split_of, folder, "CT", get_label_set("liver"))
    write_manifest(manifest, folder / "manifest.json")
    return manifest


def _sample(tmp_path: Path, manifests: list[Manifest], count: int, seed: int = 0):
    return sample_slices(manifests, count, seed, tmp_path / "out", tmp_path / "cache")


def test_spreads_over_the_cases_of_all_data_sets(tmp_path: Path) -> None:
    first = _data_set(tmp_path / "lits", {"a": _volume(1), "b": _volume(2)})
    second = _data_set(tmp_path / "amos", {"a": _volume(3)})
    sample = _sample(tmp_path, [first, second], 12)
    assert [case.id for case in sample.manifest.cases] == ["lits_a", "lits_b", "amos_a"]
    assert [len(case.slices or ()) for case in sample.manifest.cases] == [4, 4, 4]
    assert {case.split for case in sample.manifest.cases} == {"unlabelled"}
    assert (sample.copies, sample.without_body, sample.near_duplicates) == (0, 3, 0)
    assert sample == _sample(tmp_path, [first, second], 12) != _sample(tmp_path, [first, second], 12, seed=1)


def test_takes_a_volume_that_comes_twice_once(tmp_path: Path) -> None:
    turned = Volume(_volume(1).array[::-1].copy(), (1.0, 1.0, 5.0), (0.0, 0.0, 35.0), (1, 0, 0, 0, 1, 0, 0, 0, -1))
    sample = _sample(tmp_path, [_data_set(tmp_path / "lits", {"a": _volume(1)}),
                                _data_set(tmp_path / "msd", {"x": turned, "y": _volume(2)})], 14)
    assert [case.id for case in sample.manifest.cases] == ["lits_a", "msd_y"]
    assert sample.copies == 1 and sample.near_duplicates == 0


def test_knows_a_resampled_cut_or_noisy_copy(tmp_path: Path) -> None:
    volume = _volume(1)
    fine = replace(volume, array=ndimage.zoom(volume.array, (1, 2, 2), order=1))
    cut = replace(volume, array=volume.array[2:5])
    noisy = volume.with_array(volume.array + np.random.default_rng(0).integers(-4, 5, volume.array.shape))
    sample = _sample(tmp_path, [_data_set(tmp_path / "a", {"a": volume, "z": _volume(2)}),
                                _data_set(tmp_path / "b", {"fine": fine, "cut": cut, "noisy": noisy})], 14)
    assert sample.copies == 0 and sample.near_duplicates == 7 + 3 + 7
    assert [case.id for case in sample.manifest.cases] == ["a_a", "a_z"]


def test_thins_slices_that_hardly_differ(tmp_path: Path) -> None:
    thin = _volume(1)
    array = np.repeat(thin.array, 3, axis=0)
    sample = _sample(tmp_path, [_data_set(tmp_path / "a", {"a": replace(thin, array=array)})], 7)
    assert sample.manifest.cases[0].slices == tuple(range(0, 21, 3)) and sample.near_duplicates == 14


def test_nothing_of_a_held_out_case_comes_back(tmp_path: Path) -> None:
    volume = _volume(1)
    held = _data_set(tmp_path / "synapse", {"t": volume, "u": _volume(2)}, t="test")
    cut = replace(volume, array=volume.array[1:4])
    other = _data_set(tmp_path / "lits", {"same": volume, "cut": cut, "new": _volume(3)})
    sample = _sample(tmp_path, [other, held], 14)
    assert [case.id for case in sample.manifest.cases] == ["lits_new", "synapse_u"]
    assert sample.copies == 1 and sample.near_duplicates == 3


def test_stage_1_reads_the_drawn_slices_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _data_set(tmp_path / "lits", {"a": _volume(1), "b": _volume(2)})
    output = tmp_path / "unlabelled" / "manifest.json"
    main(["--manifest", str(tmp_path / "lits" / "manifest.json"), "--count", "5", "--output", str(output), "--cache",
          str(tmp_path / "cache")])
    assert "5 slices of 2 volumes" in capsys.readouterr().out
    manifest = read_manifest(output)
    assert manifest.cases[0].image == "../lits/a.nii.gz"
    cache = build_cache(manifest, manifest.of("unlabelled"), Preprocessing("CT", "hu_window", -200, 400, "none", 32),
                        tmp_path / "slices")
    views = ViewDataset(cache, two_views)
    assert len(views) == 5 and len(cache) == 16
    drawn = {(case.id, number) for case in manifest.cases for number in case.slices or ()}
    assert {(cache.refs[at].case, cache.refs[at].number) for at in cache.listed} == drawn
    assert all(view.shape == (1, 1, 32, 32) for view in views[0, 4])


def test_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path / "a", {"a": _volume(1)})
    first = _sample(tmp_path, [manifest], 3)
    manifest.image_path(manifest.cases[0]).unlink()  # whoever reads it again fails
    assert _sample(tmp_path, [manifest], 3) == first


def test_refuses_too_many_and_mixed(tmp_path: Path) -> None:
    manifest = _data_set(tmp_path / "a", {"a": _volume(1)})
    with pytest.raises(ValueError, match="Cannot draw 8 of 7 different slices of 1 volumes"):
        _sample(tmp_path, [manifest], 8)
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


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data, which is not part of the repository")
def test_patients_differ_and_copies_do_not(tmp_path: Path) -> None:
    """On real CTs: no slice of one patient is near one of another."""
    folders = {name: DATA / name for name in ("totalseg_example_ct_3mm", "totalseg_example_ct_dicom")}
    sources = [Source(name, folder / "ct.nii.gz", None) for name, folder in folders.items()]
    manifest = prepare(sources, dict.fromkeys(folders, "unlabelled"), tmp_path, "CT", get_label_set("liver"))
    both = _sample(tmp_path, [manifest], 1).near_duplicates
    alone = [_sample(tmp_path, [replace(manifest, cases=(case,))], 1).near_duplicates for case in manifest.cases]
    assert both == sum(alone)
