"""AMOS22 and MSD say in dataset.json which files there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from Testing.training.datasets.miniature import image, prepared, refused, sizes, write, write_pair


@pytest.fixture
def amos(tmp_path: Path) -> Path:
    root = tmp_path / "download" / "amos22"
    for number, ending in ((1, "Tr"), (4, "Tr"), (507, "Tr"), (8, "Va"), (510, "Va")):
        name = f"amos_{number:04d}.nii.gz"
        write_pair(root / f"images{ending}" / name, root / f"labels{ending}" / name, range(1, 16), number)
    write(root / "imagesTs" / "amos_0002.nii.gz", image(2))
    training = [{"image": f"./imagesTr/amos_{number:04d}.nii.gz", "label": f"./labelsTr/amos_{number:04d}.nii.gz"}
                for number in (1, 4, 507)]
    (root / "dataset.json").write_text(json.dumps({"training": training, "test": ["./imagesTs/amos_0002.nii.gz"]}))
    return tmp_path / "download"


def test_amos_keeps_its_own_split(amos: Path) -> None:
    manifest = prepared("amos22", amos)
    assert sizes(manifest) == {"train": 2, "unlabelled": 1, "validation": 1}
    assert [case.id for case in manifest.cases] == ["amos_0001", "amos_0002", "amos_0004", "amos_0008"]
    assert len(manifest.labels) == 15 and manifest.label_map == {number: number for number in range(1, 16)}
    assert manifest.modality == "CT"


def test_numbers_from_500_are_mr(amos: Path) -> None:
    manifest = prepared("amos22", amos, "--part", "mr")
    assert {case.id: case.split for case in manifest.cases} == {"amos_0507": "train", "amos_0510": "validation"}
    assert manifest.modality == "MR"


def test_amos_serves_the_eight_organs_of_synapse(amos: Path) -> None:
    manifest = prepared("amos22", amos, "--labels", "synapse")
    assert manifest.label_map == {1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 10: 8}


def test_amos_names_the_missing(amos: Path) -> None:
    (amos / "amos22" / "labelsTr" / "amos_0004.nii.gz").unlink()
    (amos / "amos22" / "labelsVa" / "amos_0008.nii.gz").unlink()
    message = refused("amos22", amos)
    assert "lacks 2 of the 7" in message and "labelsTr/amos_0004.nii.gz, labelsVa/amos_0008.nii.gz" in message
    (amos / "amos22" / "dataset.json").write_text("{", encoding="utf-8")
    assert "dataset.json' cannot be read" in refused("amos22", amos)
    (amos / "amos22" / "dataset.json").unlink()
    assert "dataset.json', which lists the files" in refused("amos22", amos)


def _task(root: Path, numbers: tuple[int, ...]) -> Path:
    for number in range(3):
        name = f"case_{number}.nii.gz"
        write_pair(root / "imagesTr" / name, root / "labelsTr" / name, numbers, number)
    write(root / "imagesTs" / "case_9.nii.gz", image(9))
    training = [{"image": f"./imagesTr/case_{n}.nii.gz", "label": f"./labelsTr/case_{n}.nii.gz"} for n in range(3)]
    (root / "dataset.json").write_text(json.dumps({"training": training, "test": ["./imagesTs/case_9.nii.gz"]}))
    return root


@pytest.mark.parametrize(("task", "numbers", "organs", "modality"), [
    ("Task02_Heart", (1,), ("left_atrium",), "MR"), ("Task03_Liver", (1, 2), ("liver", "liver_tumour"), "CT"),
    ("Task06_Lung", (1,), ("lung_tumour",), "CT"), ("Task07_Pancreas", (1, 2), ("pancreas", "pancreas_tumour"), "CT"),
    ("Task08_HepaticVessel", (1, 2), ("hepatic_vessels", "liver_tumour"), "CT"),
    ("Task09_Spleen", (1,), ("spleen",), "CT"), ("Task10_Colon", (1,), ("colon_tumour",), "CT"),
])
def test_msd_knows_a_task_by_its_folder(tmp_path: Path, task: str, numbers: tuple[int, ...], organs: tuple[str, ...],
                                        modality: str) -> None:
    root = _task(tmp_path / task, numbers)
    manifest = prepared("msd", root, "--fractions", "0.6", "0.4", "0")
    assert sizes(manifest) == {"train": 2, "unlabelled": 1, "validation": 1}
    assert manifest.labels.names == organs and manifest.modality == modality


def test_msd_names_the_missing(tmp_path: Path) -> None:
    root = _task(tmp_path / "MSD" / "Task03_Liver", (1, 2))
    assert len(prepared("msd", tmp_path / "MSD", "--part", "liver").cases) == 4
    (root / "imagesTr" / "case_1.nii.gz").unlink()
    assert "lacks 1 of the 7" in refused("msd", root)
    assert "holds no case of MSD Task09 (spleen)" in refused("msd", root, "--part", "spleen")


@pytest.mark.parametrize(("listed", "cause"), [
    ([], "it is a list instead of a table"), ({"training": 3}, "training is 3 instead of a list"),
    ({"training": [3]}, "an entry of training is 3 instead of a table"),
    ({"training": [{}]}, "the image of an entry of training is null instead of text"),
    ({"training": [{"image": 3}]}, "the image of an entry of training is 3"),
    ({"training": [{"image": "a.nii.gz", "label": [1]}]}, "the label of an entry of training is a list"),
    ({"training": [{"image": "/etc/passwd", "label": "a"}]}, "is '/etc/passwd', which is no path in its folder"),
    ({"training": [{"image": "../../a.nii.gz", "label": "a"}]}, "is '../../a.nii.gz', which is no path in its folder"),
    ({"training": [{"image": "a.nii.gz", "label": "b/../../a"}]}, "which is no path in its folder"),
    ({"test": ["."]}, "is '.', which is no path in its folder"), ({"test": ["a\0b"]}, "is 'a\\x00b', which is no path"),
    ({"test": {"a": 1}}, "test is a table instead of a list"),
])
@pytest.mark.parametrize("name", ["amos22", "msd"])
def test_lists_of_wrong_types_or_of_other_folders_are_refused(tmp_path: Path, listed: object, cause: str,
                                                              name: str) -> None:
    root = tmp_path / ("amos22" if name == "amos22" else "Task03_Liver")
    root.mkdir()
    (root / "dataset.json").write_text(json.dumps(listed), encoding="utf-8")
    said = refused(name, root)
    assert "dataset.json' cannot be read (" in said and cause in said


def test_amos_passes_over_what_has_no_number(amos: Path) -> None:
    (amos / "amos22" / "imagesVa" / "amos_x.nii.gz").touch()
    (amos / "amos22" / "imagesTs" / f"amos_{'9' * 99}.nii.gz").touch()
    assert len(prepared("amos22", amos).cases) == 4
