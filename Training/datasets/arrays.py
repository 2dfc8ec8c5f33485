"""Arrays without geometry, as some groups distribute volumes: .npz and .h5."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np


def read_array(path: Path, name: str) -> np.ndarray:
    """One array of a file; nothing in it is executed.

    Raises:
        ValueError: damaged, or without an array of this name.
    """
    try:
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                return np.asarray(file[name])
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except (OSError, KeyError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"'{path.name}' holds no readable array '{name}', it is damaged or incomplete, or of another "
                         f"data set; download it again.") from error
