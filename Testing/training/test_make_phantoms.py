"""The phantoms that the packaged model and the tables were made with: a file per seed, always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.demo.phantom import Phantom, make_phantom
from SAMoraLib.volume.io import read_volume, write_volume
from Testing.training.in_process import InProcess
from Training import make_phantoms
from Training.data import workers
from Training.make_phantoms import main

SEED = 20_013
asked: list[tuple[int, tuple[float, ...], bool]] = []


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thick voxels in place of those asked for, which are noted."""
    def make(seed: int, spacing: tuple[float, float, float], all_organs: bool) -> Phantom:
        asked.append((seed, spacing, all_organs))
        return make_phantom(seed, (12.0, 12.0, 20.0), all_organs=all_organs)

    asked.clear()
    monkeypatch.setattr(make_phantoms, "make_phantom", make)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", InProcess)


def test_a_file_of_each_kind_for_every_seed(small: None, tmp_path: Path) -> None:
    main(["--output", str(tmp_path), "--first-seed", str(SEED), "--count", "3", "--workers", "1"])
    names = [f"phantom_{SEED + number}.nii.gz" for number in range(3)]
    assert [path.name for path in sorted((tmp_path / "imagesTr").iterdir())] == names
    assert [path.name for path in sorted((tmp_path / "labelsTr").iterdir())] == names
    expected = make_phantom(SEED, (12.0, 12.0, 20.0), all_organs=False)
    assert np.array_equal(read_volume(tmp_path / "imagesTr" / names[0]).array, expected.ct.array)
    assert np.array_equal(read_volume(tmp_path / "labelsTr" / names[0]).array, expected.labels.array)


def test_the_voxels_of_a_seed_stay_what_they_were(small: None, tmp_path: Path) -> None:
    """Square in the plane, of 1.6 to 2.4 mm, in slices of 4 to 6 mm; the organs of some patients were removed."""
    main(["--output", str(tmp_path), "--first-seed", str(SEED), "--count", "1"])
    ((seed, spacing, all_organs),) = asked
    assert InProcess.workers == 2 and seed == SEED and not all_organs
    rng = np.random.default_rng(SEED)
    in_plane, between = 1.6 + 0.8 * rng.random(), 4 + 2 * rng.random()
    assert spacing == pytest.approx((in_plane, in_plane, between))


def test_the_published_set_is_68_from_seed_20000(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []
    monkeypatch.setattr(make_phantoms, "make_phantoms", lambda *arguments: calls.append(arguments))
    main(["--output", str(tmp_path)])
    assert calls == [(tmp_path, range(20_000, 20_068), 2, "ct")]


@pytest.mark.parametrize("lost", ["imagesTr", "labelsTr", ""])
def test_what_is_there_is_kept_and_a_lost_half_is_made_again(small: None, tmp_path: Path, lost: str) -> None:
    command = ["--output", str(tmp_path), "--first-seed", str(SEED), "--count", "1"]
    main(command)
    files = sorted(tmp_path.glob("*/*.nii.gz"))
    mine = read_volume(files[1]).with_array(np.zeros(read_volume(files[1]).array.shape, np.uint8))
    write_volume(mine, files[1])
    if lost:
        (tmp_path / lost / files[0].name).unlink()
    main(command)
    assert sorted(tmp_path.glob("*/*.nii.gz")) == files
    assert read_volume(files[1]).array.any() == bool(lost)


def test_phantoms_of_any_contrast_are_the_same_patients_in_other_greys(small: None, tmp_path: Path) -> None:
    main(["--output", str(tmp_path), "--first-seed", str(SEED), "--count", "2", "--contrast", "any"])
    expected = make_phantom(SEED, (12.0, 12.0, 20.0), all_organs=False)
    images = [read_volume(path) for path in sorted((tmp_path / "imagesTr").iterdir())]
    label = read_volume(tmp_path / "labelsTr" / f"phantom_{SEED}.nii.gz")
    assert np.array_equal(label.array, expected.labels.array) and images[0].array.shape == label.array.shape
    assert all(not np.array_equal(image.array, expected.ct.array) and image.array.dtype == np.int16 for image in images)
    again = tmp_path / "again"
    main(["--output", str(again), "--first-seed", str(SEED), "--count", "1", "--contrast", "any"])
    assert np.array_equal(read_volume(again / "imagesTr" / f"phantom_{SEED}.nii.gz").array, images[0].array)
