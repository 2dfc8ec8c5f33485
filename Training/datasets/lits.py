"""LiTS, the liver tumour challenge of 2017: 131 labelled CTs, 70 more for the challenge's test."""

from __future__ import annotations

from pathlib import Path

from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = "volume-0.nii and segmentation-0.nii, in one folder or in those of the batches"
NUMBERS = {1: "liver", 2: "liver_tumour"}
CASES = 131


def find(folder: Path) -> Download:
    """The training cases, and those test volumes that are there."""
    root = inner(folder)
    files = {path.name.removesuffix(".gz"): path for path in sorted(root.rglob("*-*.nii*"))}
    expected = [_case(root, files, number) for number in range(CASES)]
    tests = [(Source(name.removesuffix(".nii"), path, None), [path]) for name, path in files.items()
             if name.startswith("test-volume-")]
    return collect(root, expected + tests)


def _case(root: Path, files: dict[str, Path], number: int) -> tuple[Source, list[Path]]:
    image, label = (files.get(name, root / name) for name in (f"volume-{number}.nii", f"segmentation-{number}.nii"))
    return Source(f"volume-{number}", image, label), [image, label]
