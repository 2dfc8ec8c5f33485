"""Arrays by their names, out of both kinds of file; what is damaged is refused by the file's name."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from Testing.refusals import refusal
from Training.datasets.arrays import read_array

IMAGE = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)


def write_npz(path: Path) -> None:
    np.savez(path, image=IMAGE, label=IMAGE > 0.5)


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["image"], file["label"] = IMAGE, IMAGE > 0.5


@pytest.fixture(params=[("slice.npz", write_npz), ("case.npy.h5", write_h5)], ids=["npz", "h5"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name, write = request.param
    write(tmp_path / name)
    return tmp_path / name


def test_the_array_of_a_name_comes_as_it_was_written(path: Path) -> None:
    image = read_array(path, "image")
    assert image.dtype == np.float32 and np.array_equal(image, IMAGE)
    assert np.array_equal(read_array(path, "label"), IMAGE > 0.5)


@pytest.mark.parametrize("kept", [0, 10, 0.5, 0.95])
def test_a_cut_file_is_refused_by_its_name(path: Path, kept: float) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else int(kept)])
    assert refusal(lambda: read_array(path, "image")).startswith(f"'{path.name}' holds no readable array 'image', it")


def test_another_data_sets_file_is_refused(path: Path) -> None:
    assert "holds no readable array 'ct'" in refusal(lambda: read_array(path, "ct"))


def test_a_pickle_is_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "slice.npz", image=np.array(["text"], dtype=object))
    assert "holds no readable array 'image'" in refusal(lambda: read_array(tmp_path / "slice.npz", "image"))
