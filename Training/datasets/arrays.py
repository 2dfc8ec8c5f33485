"""Arrays without geometry, as some groups distribute volumes: .npz and .h5."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import IO

import h5py
import numpy as np

MOST_BYTES = 4 << 30  # of an array; 1,500 slices of 512 x 512 in double precision take 3.1 GB


def read_array(path: Path, name: str, dimensions: Collection[int] = (2, 3)) -> np.ndarray:
    """One array of numbers of a file; nothing in it is executed, and no other file that it names is opened.

    Raises:
        ValueError: damaged, without an array of this name, or it has other ``dimensions`` or would not fit in memory.
    """
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        array = _from_hdf5(path, name) if path.suffix == ".h5" else _from_npz(path, name)
        if array.ndim not in dimensions or not array.size:
            raise ValueError(f"it has the shape {array.shape}")
        return array
    except (OSError, KeyError, ValueError, EOFError, TypeError, RuntimeError, NotImplementedError, MemoryError,
            OverflowError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path.name}' holds no readable array '{name}', it is damaged or incomplete, or of another "
                         f"data set; download it again.") from error


def _from_hdf5(path: Path, name: str) -> np.ndarray:
    with h5py.File(path, "r") as file:
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise ValueError("it is a link")  # perhaps to another file
        array = file[name]
        if not isinstance(array, h5py.Dataset) or array.external or array.is_virtual:
            raise ValueError("its numbers are in another file")
        _require_numbers(array.shape or (), array.dtype)
        return np.asarray(array)


def _from_npz(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        with archive.open(f"{name}.npy") as file:
            _require_numbers(*_header(file))
        with archive.open(f"{name}.npy") as file:
            array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
            file.read()  # to its end, where the checksum is compared
            return array


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def _require_numbers(shape: tuple[int, ...], dtype: np.dtype) -> None:
    if dtype.kind not in "biuf" or math.prod(shape) * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"it has {shape} values of {dtype}")
