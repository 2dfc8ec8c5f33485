"""The tissues that the phantom is made of, with their CT and MR appearance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SAMoraLib.labels import LABEL_SETS


@dataclass(frozen=True)
class Tissue:
    """One tissue of the phantom.

    ``hu`` is its mean without contrast medium (HU), ``uptake`` what the portal venous phase adds (HU),
    ``spread`` the standard deviation of the mean between patients (HU), ``texture`` that of the pattern
    inside it (HU). ``t1`` and ``t2`` are signals in [0, 1] of T1-weighted and of fat-suppressed T2-weighted
    MR. Tissues of one ``kind`` look alike in one patient. ``organ`` is the organ it belongs to, if any.
    """

    name: str
    kind: str
    hu: float
    uptake: float
    spread: float
    texture: float
    t1: float
    t2: float
    organ: str | None = None


TISSUES = (
    Tissue("air", "gas", -1000, 0, 0, 0, 0.00, 0.00),
    Tissue("couch", "couch", 60, 0, 60, 30, 0.00, 0.00),
    Tissue("skin", "skin", 20, 15, 12, 6, 0.45, 0.35),
    Tissue("subcutaneous_fat", "fat", -105, 0, 6, 7, 0.92, 0.10),
    Tissue("muscle", "muscle", 52, 10, 5, 10, 0.42, 0.16),
    Tissue("bone_cortex", "bone_cortex", 520, 0, 120, 70, 0.08, 0.05),
    Tissue("bone_marrow", "bone_marrow", 170, 10, 45, 35, 0.62, 0.22),
    Tissue("disc", "disc", 85, 5, 12, 10, 0.35, 0.45),
    Tissue("spinal_canal", "spinal_canal", 30, 8, 6, 5, 0.25, 0.92),
    Tissue("lung", "lung", -840, 15, 35, 30, 0.06, 0.05),
    Tissue("lung_vessel", "lung_vessel", -120, 120, 80, 60, 0.20, 0.15),
    Tissue("heart", "heart", 42, 95, 8, 12, 0.35, 0.25),
    Tissue("visceral_fat", "fat", -100, 0, 6, 9, 0.90, 0.12),
    Tissue("perirenal_fat", "fat", -100, 0, 6, 7, 0.90, 0.12),
    Tissue("inferior_vena_cava", "vein", 40, 105, 14, 8, 0.25, 0.25),
    Tissue("portal_vein", "portal_vein", 40, 125, 12, 6, 0.25, 0.50),
    Tissue("mesenteric_vessel", "portal_vein", 38, 110, 12, 8, 0.28, 0.45),
    Tissue("oesophagus", "gut_wall", 42, 45, 8, 10, 0.45, 0.40),
    Tissue("adrenal", "adrenal", 25, 55, 8, 6, 0.48, 0.38),
    Tissue("bowel_wall", "gut_wall", 42, 55, 9, 12, 0.45, 0.42),
    Tissue("bowel_content", "bowel_content", 28, 5, 18, 24, 0.38, 0.62),
    Tissue("bowel_gas", "gas", -900, 0, 0, 0, 0.02, 0.02),
    Tissue("spleen", "spleen", 49, 68, 7, 5, 0.36, 0.70, "spleen"),
    Tissue("right_kidney_cortex", "kidney_cortex", 34, 150, 4, 8, 0.46, 0.76, "right_kidney"),
    Tissue("right_kidney_medulla", "kidney_medulla", 31, 125, 4, 8, 0.36, 0.86, "right_kidney"),
    Tissue("right_kidney_cyst", "cyst", 8, 0, 5, 2, 0.20, 0.97, "right_kidney"),
    Tissue("left_kidney_cortex", "kidney_cortex", 34, 150, 4, 8, 0.46, 0.76, "left_kidney"),
    Tissue("left_kidney_medulla", "kidney_medulla", 31, 125, 4, 8, 0.36, 0.86, "left_kidney"),
    Tissue("left_kidney_cyst", "cyst", 8, 0, 5, 2, 0.20, 0.97, "left_kidney"),
    Tissue("gallbladder", "bile", 11, 2, 7, 3, 0.22, 0.95, "gallbladder"),
    Tissue("liver", "liver", 56, 52, 9, 6, 0.52, 0.28, "liver"),
    Tissue("hepatic_vessel", "portal_vein", 42, 105, 10, 6, 0.28, 0.50, "liver"),
    Tissue("liver_cyst", "cyst", 8, 0, 5, 2, 0.20, 0.97, "liver"),
    Tissue("stomach_wall", "gut_wall", 44, 50, 9, 12, 0.45, 0.42, "stomach"),
    Tissue("stomach_content", "stomach_content", 18, 2, 20, 16, 0.32, 0.75, "stomach"),
    Tissue("stomach_gas", "gas", -940, 0, 0, 0, 0.02, 0.02, "stomach"),
    Tissue("aorta", "aorta", 42, 115, 16, 6, 0.24, 0.14, "aorta"),
    Tissue("pancreas", "pancreas", 40, 55, 9, 24, 0.58, 0.40, "pancreas"),
)

STRUCTURES = tuple(tissue.name for tissue in TISSUES)
STRUCTURE = {name: number for number, name in enumerate(STRUCTURES)}


def _label_of(tissue: Tissue) -> int:
    return LABEL_SETS["synapse"].by_name(tissue.organ).value if tissue.organ else 0


# Synapse label of each structure number: labels = LABEL_OF_STRUCTURE[structures].
LABEL_OF_STRUCTURE = np.array([_label_of(tissue) for tissue in TISSUES], np.uint8)
