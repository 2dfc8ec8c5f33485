"""TransUNet's Synapse: slices and volumes without geometry become volumes in HU."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from SAMoraLib.volume.io import read_volume
from Testing.training.datasets.miniature import prepared, refused, sizes
from Training.datasets import transunet
from Training.datasets.splits import published_split

DEPTH = 3


def _arrays(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole window in steps that are whole HU, and a row of each organ."""
    image = np.random.default_rng(seed).integers(0, 401, (DEPTH, 8, 9)).astype(np.float32) / 400
    label = np.zeros(image.shape, np.float32)
    label[:, :, 2] = np.arange(1, 9)
    return image, label


@pytest.fixture
def synapse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(transunet, "LISTED_SLICES", 18 * DEPTH)
    root = tmp_path / "project" / "data" / "Synapse"
    for folder in ("train_npz", "test_vol_h5"):
        (root / folder).mkdir(parents=True)
    for seed, (case, split) in enumerate(published_split("synapse").items()):
        image, label = _arrays(seed)
        if split == "test":
            with h5py.File(root / "test_vol_h5" / f"{case}.npy.h5", "w") as file:
                file["image"], file["label"] = image, label
        for number in range(DEPTH) if split == "train" else ():
            np.savez(root / "train_npz" / f"{case}_slice{number:03d}.npz", image=image[number], label=label[number])
    return tmp_path / "project"


def test_comes_back_in_hu(synapse: Path) -> None:
    manifest = prepared("synapse", synapse)
    assert sizes(manifest) == {"test": 12, "train": 18}
    assert manifest.label_map == {number: number for number in range(1, 9)}
    for seed, name in enumerate(published_split("synapse")):
        if name in ("case0005", "case0001"):
            case = next(case for case in manifest.cases if case.id == name)
            image, label = _arrays(seed)
            volume = read_volume(manifest.image_path(case))
            assert np.allclose(volume.array, image * 400 - 125, atol=1e-3)
            assert np.array_equal(read_volume(manifest.label_path(case)).array, label)
            assert (volume.spacing, volume.origin, volume.direction) == ((1, 1, 1), (0, 0, 0), transunet.LAS)


def test_a_list_of_slices_fits_these_names(synapse: Path, tmp_path: Path) -> None:
    names = tmp_path / "train_220.txt"
    names.write_text("case0005_slice002\n", encoding="utf-8")
    manifest = prepared("synapse", synapse, "--few-shot-list", str(names))
    assert [case.slices for case in manifest.of("train")] == [(2,)]


def test_names_missing_slices_and_volumes(synapse: Path) -> None:
    root = synapse / "data" / "Synapse"
    (root / "test_vol_h5" / "case0038.npy.h5").unlink()
    (root / "train_npz" / "case0005_slice001.npz").unlink()
    message = refused("synapse", synapse)
    assert "train_npz/case0005_slice001.npz, test_vol_h5/case0038.npy.h5, 1 of the 54 slices" in message
    (root / "train_npz" / "case0005_slice002.npz").unlink()  # nothing says how many slices a case has, the list does
    assert "2 of the 54 slices" in refused("synapse", synapse)
    assert len(prepared("synapse", synapse, "--partial").cases) == 29


def test_refuses_cut_files_by_name(synapse: Path) -> None:
    root = synapse / "data" / "Synapse"
    for path, cause in [(root / "test_vol_h5" / "case0001.npy.h5", "'case0001.npy.h5' holds no readable array 'image'"),
                        (root / "train_npz" / "case0005_slice001.npz", "'case0005_slice001.npz' holds no readable")]:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert cause in refused("synapse", synapse)
        path.write_bytes(whole)
    np.savez(path, image=np.array(["text"], dtype=object), label=np.zeros((8, 9)))  # a pickle is never opened
    assert "holds no readable array 'image'" in refused("synapse", synapse)


def test_slices_of_several_sizes_and_of_endless_numbers(synapse: Path) -> None:
    folder = synapse / "data" / "Synapse" / "train_npz"
    (folder / f"case0005_slice{'9' * 12}.npz").write_bytes(b"")
    assert len(prepared("synapse", synapse).cases) == 30
    np.savez(folder / "case0005_slice001.npz", image=np.ones((3, 4)), label=np.zeros((3, 4)))
    shutil.rmtree(synapse.parent / "prepared", ignore_errors=True)
    assert "have several sizes" in refused("synapse", synapse)
