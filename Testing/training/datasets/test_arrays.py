"""Arrays by their names, out of both kinds of file; what is damaged is refused by the file's name."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from Testing.refusals import refusal
from Training.datasets import arrays
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


@pytest.mark.parametrize("shape", [(), (0, 3), (4,), (2, 2, 2, 2)])
def test_arrays_of_other_dimensions_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "slice.npz", image=np.zeros(shape))
    with h5py.File(tmp_path / "case.h5", "w") as file:
        file["image"] = np.zeros(shape)
    for name in ("slice.npz", "case.h5"):
        assert "holds no readable array 'image'" in refusal(lambda name=name: read_array(tmp_path / name, "image"))


def test_a_small_file_that_becomes_a_huge_array_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**5,) * 3})
    with zipfile.ZipFile(tmp_path / "slice.npz", "w") as archive:
        archive.writestr("image.npy", header.getvalue())
    with h5py.File(tmp_path / "case.h5", "w") as file:
        file.create_dataset("image", (10**5,) * 3, "f8", chunks=(10, 10, 10), compression="gzip")
    for name in ("slice.npz", "case.h5"):
        assert "holds no readable array 'image'" in refusal(lambda name=name: read_array(tmp_path / name, "image"))


def test_numbers_of_another_file_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(range(96)) * 10)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["image"] = IMAGE
    layout = h5py.VirtualLayout(IMAGE.shape, "f4")
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "image", IMAGE.shape)
    with h5py.File(tmp_path / "case.h5", "w") as file:
        file.create_dataset("raw", (2, 3, 4), "f4", external=[(str(tmp_path / "secret"), 0, 96)])
        file["link"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "image")
        file["soft"] = h5py.SoftLink("/image")
        file.create_virtual_dataset("virtual", layout)
        file["text"], file["image"] = ["a", "b"], IMAGE
        file.create_group("group")
    for name in ("raw", "link", "soft", "virtual", "text", "group"):
        assert f"no readable array '{name}'" in refusal(lambda name=name: read_array(tmp_path / "case.h5", name))
    assert np.array_equal(read_array(tmp_path / "case.h5", "image"), IMAGE)


def test_a_changed_byte_of_an_archive_is_seen(tmp_path: Path) -> None:
    write_npz(tmp_path / "slice.npz")
    content, numbers = (tmp_path / "slice.npz").read_bytes(), IMAGE.tobytes()
    (tmp_path / "slice.npz").write_bytes(content.replace(numbers, numbers[:-4] + bytes(4)))
    assert "holds no readable array 'image'" in refusal(lambda: read_array(tmp_path / "slice.npz", "image"))


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("slice.npz", "case.h5"):
        os.mkfifo(tmp_path / name)
        assert "holds no readable array 'image'" in refusal(lambda name=name: read_array(tmp_path / name, "image"))


def test_an_array_may_be_as_large_as_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", IMAGE.nbytes)
    assert np.array_equal(read_array(path, "image"), IMAGE)
    monkeypatch.setattr(arrays, "MOST_BYTES", IMAGE.nbytes - 1)
    assert "holds no readable array 'image'" in refusal(lambda: read_array(path, "image"))


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_headers_of_both_versions_are_read(tmp_path: Path, version: tuple[int, int]) -> None:
    content = io.BytesIO()
    np.lib.format.write_array(content, IMAGE, version)
    with zipfile.ZipFile(tmp_path / "slice.npz", "w") as archive:
        archive.writestr("image.npy", content.getvalue())
    assert np.array_equal(read_array(tmp_path / "slice.npz", "image"), IMAGE)


@pytest.mark.parametrize(("shape", "dimensions"), [((5, 6), (2, 3)), ((4, 5, 6), (2, 3)), ((7,), (1,))])
def test_slices_and_volumes_are_read_if_nothing_else_is_said(tmp_path: Path, shape: tuple[int, ...],
                                                             dimensions: tuple[int, ...]) -> None:
    np.savez(tmp_path / "a.npz", image=np.ones(shape))
    assert read_array(tmp_path / "a.npz", "image", dimensions).shape == shape
    if dimensions == (2, 3):
        assert read_array(tmp_path / "a.npz", "image").shape == shape
