"""KiTS19, the kidney tumour challenge of 2019: 210 labelled CTs, 90 more for the challenge's test."""

from __future__ import annotations

from pathlib import Path

from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = "data/case_00000/imaging.nii.gz and data/case_00000/segmentation.nii.gz"
NUMBERS = {1: "kidney", 2: "kidney_tumour"}
LABELLED, CASES = 210, 300


def find(folder: Path) -> Download:
    """The training cases, and those test images that are there."""
    root = inner(folder, "data", "kits19/data")
    expected = [_case(root / f"case_{number:05d}") for number in range(LABELLED)]
    tests = [root / f"case_{number:05d}" / "imaging.nii.gz" for number in range(LABELLED, CASES)]
    return collect(root, [*expected, *((Source(path.parent.name, path, None), [path])
                                       for path in tests if path.is_file())])


def _case(folder: Path) -> tuple[Source, list[Path]]:
    image, label = folder / "imaging.nii.gz", folder / "segmentation.nii.gz"
    return Source(folder.name, image, label), [image, label]
