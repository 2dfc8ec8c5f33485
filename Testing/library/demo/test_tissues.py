"""What the phantom is made of: names, appearances and the organs that tissues belong to."""

from __future__ import annotations

import numpy as np
import pytest

from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE, STRUCTURE, STRUCTURES, TISSUES
from SAMoraLib.labels import LABEL_SETS


def test_a_structures_number_is_its_place_and_air_is_0() -> None:
    assert STRUCTURES[0] == "air"
    assert all(STRUCTURES[STRUCTURE[name]] == name for name in STRUCTURES)
    assert len(STRUCTURE) == len(STRUCTURES) == len(TISSUES) < 256


@pytest.mark.parametrize(("structure", "organ"), [
    ("air", None), ("muscle", None), ("portal_vein", None), ("spleen", "spleen"), ("left_kidney_cyst", "left_kidney"),
    ("right_kidney_medulla", "right_kidney"), ("hepatic_vessel", "liver"), ("stomach_gas", "stomach"),
    ("pancreas", "pancreas")])
def test_a_structure_is_labelled_as_the_organ_that_it_is_part_of(structure: str, organ: str | None) -> None:
    value = LABEL_SETS["synapse"].by_name(organ).value if organ else 0
    assert LABEL_OF_STRUCTURE[STRUCTURE[structure]] == value


def test_every_organ_of_the_label_set_has_a_tissue() -> None:
    assert LABEL_OF_STRUCTURE.dtype == np.uint8
    assert set(LABEL_OF_STRUCTURE.tolist()) == {0, *(label.value for label in LABEL_SETS["synapse"])}


def test_tissues_look_as_in_a_patient() -> None:
    """Gas, fat, soft tissue and bone in this order of HU; signals of MR in [0, 1], water bright on T2 and fat on T1."""
    hu = {tissue.name: tissue.hu for tissue in TISSUES}
    order = ["air", "lung", "subcutaneous_fat", "liver_cyst", "spleen", "bone_marrow", "bone_cortex"]
    assert [hu[name] for name in order] == sorted(hu[name] for name in order)
    assert all(0 <= signal <= 1 for tissue in TISSUES for signal in (tissue.t1, tissue.t2))
    assert all(tissue.uptake >= 0 and tissue.spread >= 0 and tissue.texture >= 0 for tissue in TISSUES)
    cyst, fat = (TISSUES[STRUCTURE[name]] for name in ("liver_cyst", "visceral_fat"))
    assert cyst.t2 > 0.9 > fat.t2 and fat.t1 > 0.8 > cyst.t1
