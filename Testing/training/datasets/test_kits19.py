"""KiTS19's folder per case."""

from __future__ import annotations

from pathlib import Path

from Testing.training.datasets.miniature import image, prepared, refused, sizes, write, write_pair
from Training.datasets.kits19 import find


def test_cases_with_and_without_labels(tmp_path: Path) -> None:
    root = tmp_path / "kits19" / "data"
    for number in (0, 209):
        folder = root / f"case_{number:05d}"
        write_pair(folder / "imaging.nii.gz", folder / "segmentation.nii.gz", (1, 2), number)
    write(root / "case_00210" / "imaging.nii.gz", image(210))
    manifest = prepared("kits19", tmp_path / "kits19", "--partial", "--fractions", "1", "0", "0")
    assert sizes(manifest) == {"train": 2, "unlabelled": 1}
    assert manifest.labels.names == ("kidney", "kidney_tumour")
    message = refused("kits19", tmp_path / "kits19")
    assert "lacks 416 of the 421" in message and "case_00001/imaging.nii.gz, case_00001/segmentation.nii.gz" in message


def test_a_whole_download_has_210_labelled_cases(tmp_path: Path) -> None:
    for number in range(300):
        (tmp_path / f"case_{number:05d}").mkdir()
        for name in ("imaging", "segmentation") if number < 210 else ("imaging",):
            (tmp_path / f"case_{number:05d}" / f"{name}.nii.gz").touch()
    found = find(tmp_path)
    assert len(found.cases) == 300 and not found.missing
    assert sum(case.label is not None for case in found.cases) == 210
