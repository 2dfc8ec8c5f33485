"""Deformed copies of one labelled CT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE, STRUCTURE
from SAMoraLib.labels import get_label_set
from SAMoraLib.volume.io import read_volume, write_volume
from Training.make_painted import main, make_copy, read_patient

IDS = {"spleen": 1, "right_kidney": 2, "left_kidney": 3, "gallbladder": 4, "liver": 5, "stomach": 6, "pancreas": 7,
       "aorta": 52}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A phantom as it would come from TotalSegmentator: its CT, and its organs under TotalSegmentator's ids."""
    folder = tmp_path_factory.mktemp("patient")
    phantom = make_phantom(3, (6.0, 6.0, 8.0), oriented=True)
    ids = np.zeros(256, np.uint8)
    for label in get_label_set("synapse"):
        ids[label.value] = IDS[label.name]
    write_volume(phantom.ct, folder / "ct.nii.gz")
    write_volume(phantom.labels.with_array(ids[phantom.labels.array]), folder / "label.nii.gz")
    return folder / "ct.nii.gz", folder / "label.nii.gz"


def test_every_organ_keeps_its_place_and_the_rest_is_told_apart_by_hu(files: tuple[Path, Path]) -> None:
    patient = read_patient(*files)
    labels = LABEL_OF_STRUCTURE[patient.structures]
    assert set(np.unique(labels)) == set(range(9))
    assert patient.hu[labels == 5].mean() > 30  # liver
    assert patient.hu[patient.structures == STRUCTURE["visceral_fat"]].mean() < -60
    assert patient.hu[patient.structures == STRUCTURE["air"]].mean() < -500
    cortex, medulla = (patient.structures == STRUCTURE[f"left_kidney_{part}"] for part in ("cortex", "medulla"))
    assert cortex.sum() > 100 and medulla.sum() > 100


@pytest.mark.parametrize("painted", [False, True])
def test_a_copy_is_another_patient_whose_labels_fit_its_image(files: tuple[Path, Path], painted: bool) -> None:
    patient = read_patient(*files)
    ct, labels = make_copy(patient, 7, painted)
    again, _ = make_copy(patient, 7, painted)
    other, _ = make_copy(patient, 8, painted)
    assert np.array_equal(ct.array, again.array)
    assert other.spacing != ct.spacing and ct.array.dtype == np.int16 and labels.array.dtype == np.uint8
    liver = ct.array[labels.array == 5]
    assert 20 < np.median(liver) < 180
    outside = ct.array[labels.array == 0]
    assert np.mean(outside < -300) > 0.2  # the air around the body came along


def test_contrast_medium_brightens_the_kidneys_of_some_copies(files: tuple[Path, Path]) -> None:
    patient = read_patient(*files)
    kidneys = []
    for seed in range(8):
        ct, labels = make_copy(patient, seed, painted=False)
        kidneys.append(np.median(ct.array[np.isin(labels.array, (2, 3))]))
    assert max(kidneys) - min(kidneys) > 40


def test_the_command_writes_both_kinds_and_keeps_what_is_there(files: tuple[Path, Path], tmp_path: Path) -> None:
    command = ["--image", str(files[0]), "--label", str(files[1]), "--output", str(tmp_path), "--count", "2",
               "--real", "0.5", "--workers", "1"]
    main(command)
    written = sorted((tmp_path / "imagesTr").iterdir())
    assert [path.name.split("_")[0] for path in written] == ["painted", "real"]
    stamps = [path.stat().st_mtime_ns for path in written]
    main(command)
    assert [path.stat().st_mtime_ns for path in written] == stamps
    assert read_volume(written[0]).array.shape == read_volume(tmp_path / "labelsTr" / written[0].name).array.shape


def test_labels_on_another_grid_and_labels_without_organs_are_refused(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = read_volume(files[0])
    write_volume(ct.with_array(np.zeros(ct.array.shape, np.uint8)), tmp_path / "empty.nii.gz")
    write_volume(make_phantom(1, (8.0, 8.0, 16.0)).labels, tmp_path / "other.nii.gz")
    for name, reason in (("empty", "holds none of the organs"), ("other", "lies on another grid")):
        with pytest.raises(SystemExit):
            main(["--image", str(files[0]), "--label", str(tmp_path / f"{name}.nii.gz"), "--output", str(tmp_path)])
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "imagesTr").exists()
