"""BTCV, the multi-atlas challenge "Beyond the Cranial Vault" (Synapse syn3193805): 30 labelled abdominal CTs.

The papers call it Synapse when they take TransUNet's eight organs and 18 / 12 cases.
"""

from __future__ import annotations

from pathlib import Path

from Training.datasets.protocol import Download, Source, collect, inner

LAYOUT = "Abdomen/RawData/Training/img/img0001.nii.gz and .../label/label0001.nii.gz"
NUMBERS = {1: "spleen", 2: "right_kidney", 3: "left_kidney", 4: "gallbladder", 5: "esophagus", 6: "liver", 7: "stomach",
           8: "aorta", 9: "inferior_vena_cava", 10: "portal_and_splenic_vein", 11: "pancreas",
           12: "right_adrenal_gland", 13: "left_adrenal_gland"}
CASES = tuple(f"{number:04d}" for number in (*range(1, 11), *range(21, 41)))


def find(folder: Path) -> Download:
    """The 30 training cases; those for the challenge's test have no public labels."""
    root = inner(folder, "Abdomen/RawData/Training", "RawData/Training", "Training")
    return collect(root, (_case(root, case) for case in CASES))


def _case(root: Path, case: str) -> tuple[Source, list[Path]]:
    image, label = root / "img" / f"img{case}.nii.gz", root / "label" / f"label{case}.nii.gz"
    return Source(f"case{case}", image, label), [image, label]
