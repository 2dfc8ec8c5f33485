"""Fixtures of the training tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.folders import SHARED
from Training.data.manifest import Manifest, write_manifest
from Training.datasets.folder import find_sources
from Training.prepare import prepare


@pytest.fixture(scope="session")
def golden() -> dict[str, np.ndarray]:
    """Losses, metrics and learning rates computed by the published code."""
    path = SHARED / "golden" / "metrics_losses_schedules" / "public" / "io.npz"
    if not path.is_file():
        pytest.skip("needs the golden files in ../shared, which are not part of the repository")
    with np.load(path) as arrays:
        return dict(arrays)


@dataclass
class Cases:
    """A folder of small labelled volumes, as a user would have them: CASE/image.nii.gz and CASE/label.nii.gz."""

    folder: Path

    def add(self, case: str, seed: int = 0, direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1),
            numbers: tuple[int, ...] = (1, 2, 3, 4)) -> tuple[Volume, Volume]:
        """A body of 60 HU with one block per label number, noise from ``seed``; written and returned."""
        rng = np.random.default_rng(seed)
        image = np.full((6, 40, 48), -1000, dtype=np.int16)
        image[:, 4:36, 4:44] = 60
        label = np.zeros(image.shape, dtype=np.uint8)
        for place, number in enumerate(numbers):
            y, x = 8 + 6 * (place // 2), 8 + 18 * (place % 2)
            label[1:5, y : y + 5, x : x + 12] = number
        image[label > 0] += 20 * label[label > 0].astype(np.int16)
        image[:, 4:36, 4:44] += rng.integers(-5, 6, (6, 32, 40), dtype=np.int16)
        volume = Volume(image, (1.5, 1.5, 5.0), (10.0, -20.0, 30.0), direction)
        self.write(case, volume, volume.with_array(label))
        return volume, volume.with_array(label)

    def write(self, case: str, image: Volume, label: Volume | None) -> None:
        (self.folder / case).mkdir(parents=True)
        write_volume(image, self.folder / case / "image.nii.gz")
        if label is not None:
            write_volume(label, self.folder / case / "label.nii.gz")

    def manifest(self, root: Path, label_map: str = "", **splits: str) -> Manifest:
        """Prepared with the four organs of chaos_mr: ``manifest(root, train="a,b", test="c")``."""
        sources = find_sources(self.folder, "image.nii.gz", "label.nii.gz")
        split_of = {case: split for split, cases in splits.items() for case in cases.split(",")}
        manifest = prepare(sources, split_of, root, "CT", get_label_set("chaos_mr"), label_map)
        write_manifest(manifest, root / "manifest.json")
        return manifest


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return Cases(tmp_path / "data")
