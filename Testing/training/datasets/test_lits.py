"""LiTS in its two batches, and its test volumes."""

from __future__ import annotations

from pathlib import Path

from Testing.training.datasets.miniature import image, prepared, refused, sizes, write, write_pair
from Training.datasets.lits import find


def _download(root: Path) -> Path:
    for number, batch in ((0, "Training Batch 1"), (1, "Training Batch 1"), (28, "Training Batch 2")):
        write_pair(root / batch / f"volume-{number}.nii", root / batch / f"segmentation-{number}.nii", (1, 2), number)
    write(root / "Testing Batch" / "test-volume-3.nii", image(99))
    return root


def test_batches_and_test_volumes(tmp_path: Path) -> None:
    manifest = prepared("lits", _download(tmp_path / "lits"), "--partial", "--fractions", "1", "0", "0")
    assert sizes(manifest) == {"train": 3, "unlabelled": 1}
    assert [case.id for case in manifest.cases] == ["test-volume-3", "volume-0", "volume-1", "volume-28"]
    assert manifest.labels.names == ("liver", "liver_tumour") and manifest.label_map == {1: 1, 2: 2}


def test_a_tumour_is_liver_where_only_the_liver_is_asked_for(tmp_path: Path) -> None:
    manifest = prepared("lits", _download(tmp_path / "lits"), "--partial", "--labels", "liver")
    assert manifest.label_map == {1: 1, 2: 1}


def test_names_the_missing(tmp_path: Path) -> None:
    message = refused("lits", _download(tmp_path / "lits"))
    assert "lacks 256 of the 263" in message and "volume-2.nii, segmentation-2.nii, volume-3.nii" in message


def test_a_whole_download_has_131_cases(tmp_path: Path) -> None:
    for number in range(131):
        for kind in ("volume", "segmentation"):
            (tmp_path / f"{kind}-{number}.nii.gz").touch()
    found = find(tmp_path)
    assert len(found.cases) == 131 and not found.missing
