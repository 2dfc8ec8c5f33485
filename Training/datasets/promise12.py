"""PROMISE12, the prostate challenge of 2012: 50 labelled T2-weighted MRs."""

from __future__ import annotations

from pathlib import Path

from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = "Case00.mhd with Case00.raw and Case00_segmentation.mhd with its .raw, in one folder or in those of the parts"
NUMBERS = {1: "prostate"}
CASES = 50
HEADER_BYTES = 1 << 16  # ample


def find(folder: Path) -> Download:
    """The challenge's training set."""
    root = inner(folder)
    headers = {path.name: path for path in sorted(root.rglob("Case??*.mhd"))}
    return collect(root, (_case(root, headers, f"Case{number:02d}") for number in range(CASES)))


def _case(root: Path, headers: dict[str, Path], case: str) -> tuple[Source, list[Path]]:
    image, label = (headers.get(name, root / name) for name in (f"{case}.mhd", f"{case}_segmentation.mhd"))
    return Source(case, image, label), [image, *_voxels(image), label, *_voxels(label)]


def _voxels(header: Path) -> list[Path]:
    """The file beside a header that holds its voxels.

    Raises:
        ValueError: it would lie elsewhere.
    """
    if not header.is_file():
        return []
    with header.open("rb") as file:
        text = file.read(HEADER_BYTES).decode("ascii", errors="replace")
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "ElementDataFile" and value != "LOCAL":
            if value != Path(value).name or not value:
                raise ValueError(f"'{header.name}' has its voxels in {value!r:.80}, which is no file beside it; "
                                 "download it again.")
            return [header.parent / value]
    return []
