"""PROMISE12: headers with their voxels in a file beside them."""

from __future__ import annotations

from pathlib import Path

import pytest
import SimpleITK as sitk

from Testing.training.datasets.miniature import image, label, prepared, refused, sizes
from Training.datasets.splits import published_split


@pytest.fixture
def promise(tmp_path: Path) -> Path:
    for number in range(50):
        folder = tmp_path / "promise" / f"TrainingData_Part{1 + number // 20}"
        folder.mkdir(parents=True, exist_ok=True)
        volume = image(number)
        for name, content in ((f"Case{number:02d}", volume), (f"Case{number:02d}_segmentation", label((1,), volume))):
            picture = sitk.GetImageFromArray(content.array)
            picture.SetSpacing(content.spacing)
            sitk.WriteImage(picture, str(folder / f"{name}.mhd"))
    return tmp_path / "promise"


def test_forty_and_ten(promise: Path) -> None:
    manifest = prepared("promise12", promise)
    assert sizes(manifest) == {"test": 10, "train": 40}
    assert {case.id for case in manifest.of("test")} == {
        f"Case{number}" for number in (16, 35, 34, 49, 23, 12, 28, 43, 20, 13)}


def test_the_three_scans_of_h_sam(promise: Path) -> None:
    manifest = prepared("promise12", promise, "--few-shot")
    assert sizes(manifest) == {"test": 10, "train": 3, "unlabelled": 37}
    assert {case.id: case.slices for case in manifest.of("train")} == {"Case05": (1,), "Case14": (1,), "Case29": (1,)}
    assert set(published_split("promise12")) == {case.id for case in manifest.cases}


def test_names_missing_headers_and_voxels(promise: Path) -> None:
    (promise / "TrainingData_Part1" / "Case03.raw").unlink()
    (promise / "TrainingData_Part3" / "Case49_segmentation.mhd").unlink()
    message = refused("promise12", promise)
    assert "lacks 2 of the 199" in message
    assert "TrainingData_Part1/Case03.raw, Case49_segmentation.mhd" in message


def test_refuses_cut_voxels_by_name(promise: Path) -> None:
    path = promise / "TrainingData_Part1" / "Case00.raw"
    path.write_bytes(path.read_bytes()[:100])
    assert "Case 'Case00': 'Case00.mhd' cannot be read" in refused("promise12", promise)


@pytest.mark.parametrize("line", ["../../../etc/passwd", "/etc/passwd", "LIST", "", "a%03d.raw 1 9 1"])
def test_voxels_elsewhere_are_not_looked_for(promise: Path, line: str) -> None:
    header = promise / "TrainingData_Part1" / "Case00.mhd"
    text = header.read_text(encoding="ascii").replace("Case00.raw", line)
    header.write_text(text + "x" * 200_000, encoding="ascii")
    said = refused("promise12", promise)
    assert "Case00" in said or "lacks" in said
