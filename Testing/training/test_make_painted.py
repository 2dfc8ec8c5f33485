"""Deformed copies of one labelled CT."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE, STRUCTURE, STRUCTURES
from SAMoraLib.labels import get_label_set
from SAMoraLib.volume.io import read_volume, write_volume
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.training.in_process import InProcess
from Training import make_painted
from Training.data import workers
from Training.make_painted import (
    Patient,
    _sample_points,
    _sampled_hu,
    _sampled_structures,
    main,
    make_any,
    make_copy,
    read_patient,
    structures_of,
)

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


SIDE = 25
BLOCK = slice(3, 22)  # 19 voxels along each axis, in the middle


def body_of(hu: float) -> tuple[np.ndarray, np.ndarray]:
    """Ids and HU (SIDE, SIDE, SIDE) of a body without organs in air."""
    array = np.full((SIDE,) * 3, -1000.0)
    array[:, 1:-1, 1:-1] = hu
    return np.zeros(array.shape, int), array


@pytest.mark.parametrize(("number", "hu", "expected"), [
    (0, -300, "visceral_fat"), (0, -301, "bowel_gas"), (0, -31, "visceral_fat"), (0, -30, "muscle"), (0, 300, "muscle"),
    (0, 301, "bone_cortex"), (25, 300, "bone_marrow"), (25, 301, "bone_cortex"), (10, -400, "lung"),
    (10, -399, "lung_vessel"), (1, 900, "spleen"),
])
def test_what_the_labels_leave_together_is_told_apart_by_its_hu(number: int, hu: float, expected: str) -> None:
    ids, array = body_of(50)
    ids[12, 12, 12], array[12, 12, 12] = number, hu
    structures = structures_of(ids, array, (1.0, 1.0, 1.0))
    assert STRUCTURES[structures[12, 12, 12]] == expected
    assert STRUCTURES[structures[12, 5, 5]] == "muscle" and STRUCTURES[structures[12, 0, 5]] == "air"


def test_the_body_is_the_largest_part_brighter_than_its_border() -> None:
    ids, array = body_of(-1000)
    array[:, 2:9, 2:9], array[:, 14:23, 14:23] = -249, -249  # a couch, and the body
    array[:, 14, :] = -250
    structures = structures_of(ids, array, (1.0, 1.0, 1.0))
    assert {STRUCTURES[number] for number in np.unique(structures)} == {"air", "visceral_fat"}
    assert np.array_equal(structures != STRUCTURE["air"], (array == -249) & (np.arange(SIDE) > 12))


@pytest.mark.parametrize(("number", "side"), [(2, "right"), (3, "left")])
def test_a_kidneys_cortex_is_seven_millimetres_thick(number: int, side: str) -> None:
    ids, array = body_of(50)
    ids[BLOCK, BLOCK, BLOCK] = number
    structures = structures_of(ids, array, (1.0, 1.0, 2.0))
    found = np.argwhere(structures == STRUCTURE[f"{side}_kidney_medulla"])
    assert found.min(axis=0).tolist() == [6, 10, 10] and found.max(axis=0).tolist() == [18, 14, 14]
    assert len(found) == 13 * 5 * 5
    assert (structures == STRUCTURE[f"{side}_kidney_cortex"]).sum() == 19**3 - len(found)


@pytest.mark.parametrize(("number", "gut"), [(6, "stomach"), (18, "bowel")])
def test_a_wall_is_four_millimetres_thick_where_there_is_no_gas(number: int, gut: str) -> None:
    ids, array = body_of(50)
    ids[BLOCK, BLOCK, BLOCK] = number
    array[12, 12, 3:7], array[12, 11, 3:7] = -300, -301
    structures = structures_of(ids, array, (1.0, 1.0, 1.0))
    assert [STRUCTURES[number] for number in structures[12, 5, 12:18]] == [f"{gut}_wall"] * 6
    assert [STRUCTURES[number] for number in structures[12, 14, 3:8]] == [f"{gut}_wall"] * 3 + [f"{gut}_content"] * 2
    assert [STRUCTURES[number] for number in structures[12, 12, 3:7]] == [f"{gut}_content"] * 4
    assert [STRUCTURES[number] for number in structures[12, 11, 3:7]] == [f"{gut}_gas"] * 4


@pytest.mark.parametrize("size", [1.0, 0.5])
def test_a_copy_is_turned_and_sized_about_its_middle(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Without turn and bend, the patient's own voxels; a part along z, all of the other axes."""
    for name, value in (("TURN", 0.0), ("SIZE", (size, size)), ("BEND_MM", 0.0)):
        monkeypatch.setattr(make_painted, name, value)
    array = np.zeros((20, 30, 40))
    z, y, x = _sample_points(Patient(array, array, (2.0, 2.0, 5.0)), (2.0, 2.0, 2.5), np.random.default_rng(3))
    assert z.shape[1:] == (30, 40) and 0.6 * 40 - 1 < z.shape[0] <= 40
    assert_close(y[0, :, 0], 14.5 + size * (np.arange(30) - 14.5), tolerance=1e-5)
    assert_close(x[0, 0], 19.5 + size * (np.arange(40) - 19.5), tolerance=1e-5)
    assert_close(np.diff(z[:, 0, 0]), np.full(len(z) - 1, size / 2), tolerance=1e-5, scale=20)
    assert z.min() > -0.5 and z.max() < 19.5 and z.std() > 0


def test_a_copy_turns_about_as_far_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of TURN is each angle's standard deviation; two of the three move an axis."""
    for name, value in (("SIZE", (1.0, 1.0)), ("BEND_MM", 0.0)):
        monkeypatch.setattr(make_painted, name, value)
    patient = Patient(np.zeros((4, 5, 6)), np.zeros((4, 5, 6), np.uint8), (10.0, 10.0, 10.0))
    squares = []
    for seed in range(100):
        points = _sample_points(patient, (10.0, 10.0, 10.0), np.random.default_rng(seed))
        along = points[:, 0, 0, 1] - points[:, 0, 0, 0]
        squares.append(np.degrees(np.arccos(np.clip(along[2] / np.linalg.norm(along), -1, 1))) ** 2)
    assert np.mean(squares) ** 0.5 == pytest.approx(8 / 2 * 2**0.5, rel=0.2)


def test_a_copy_bends_about_as_far_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("TURN", 0.0), ("SIZE", (1.0, 1.0))):
        monkeypatch.setattr(make_painted, name, value)
    array = np.zeros((30, 30, 30))
    points = _sample_points(Patient(array, array, (10.0, 10.0, 10.0)), (10.0, 10.0, 10.0), np.random.default_rng(3))
    bent = 10 * (points[2] - np.arange(30))
    assert 4 < bent.std() < 10 and abs(bent.mean()) < 4


def test_copies_differ_in_resolution_noise_and_contrast_medium(monkeypatch: pytest.MonkeyPatch) -> None:
    """1.5 to 2.4 mm in the plane, slices of 2 to 6 mm, noise of 1 to 12 HU, contrast medium in six of ten."""
    given: list[int] = []
    monkeypatch.setattr(make_painted, "contrast_medium", lambda structures, *_: given.append(1) or 0 * structures)
    flat = Patient(np.full((12, 16, 16), 100), np.full((12, 16, 16), STRUCTURE["liver"], np.uint8), (5.0, 5.0, 5.0))
    copies = [make_copy(flat, seed, painted=False)[0] for seed in range(60)]
    in_plane, same, between = np.array([copy.spacing for copy in copies]).T
    assert np.array_equal(in_plane, same)
    assert 1.5 <= in_plane.min() < 1.6 and 2.3 < in_plane.max() <= 2.4
    assert 2 <= between.min() < 2.5 and 5.5 < between.max() <= 6
    noise = [1.4826 * np.median(np.abs(copy.array[copy.array > 30] - 100)) for copy in copies]
    assert 0.9 < min(noise) < 3 and 10 < max(noise) < 12.5
    assert 25 < len(given) < 47


@pytest.fixture(scope="module")
def blocks() -> Patient:
    """Two organs in muscle in air."""
    structures = np.full((9, 22, 31), STRUCTURE["air"], np.uint8)
    structures[:, 3:19, 4:27] = STRUCTURE["muscle"]
    structures[2:8, 5:13, 6:15] = STRUCTURE["liver"]
    structures[1:6, 9:17, 18:25] = STRUCTURE["spleen"]
    hu = np.zeros(len(STRUCTURES))
    hu[[STRUCTURE[name] for name in ("air", "muscle", "liver", "spleen")]] = -1000, 40, 110, 260
    return Patient(hu[structures], structures, (6.0, 7.0, 11.0))


@pytest.mark.parametrize(("seed", "painted", "grid", "spacing", "organs"), [
    (4, False, (24, 65, 79), (2.349, 2.349, 4.045), {5: (7527, (13.26, 25.89, 26.53), 163.4),
                                                     1: (6368, (10.78, 40.58, 52.76), 331.1)}),
    (5, True, (22, 70, 84), (2.197, 2.197, 3.883), {5: (15304, (10.62, 27.07, 26.47), 43.5),
                                                    1: (7662, (8.63, 41.98, 57.84), 57.5)}),
], ids=["own HU", "painted"])
def test_the_copy_of_a_seed_stays_what_it_was(blocks: Patient, seed: int, painted: bool, grid: tuple[int, ...],
                                              spacing: tuple[float, ...], organs: dict[int, Any]) -> None:
    """Models were trained with them: each organ's voxels, their middle and their mean HU."""
    ct, labels = make_copy(blocks, seed, painted)
    assert ct.array.shape == grid and ct.spacing == pytest.approx(spacing, abs=0.001)
    assert (ct.origin, ct.direction) == ((0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    for value, (voxels, middle, hu) in organs.items():
        found = labels.array == value
        assert found.sum() == pytest.approx(voxels, rel=0.003)
        assert np.argwhere(found).mean(axis=0) == pytest.approx(middle, abs=0.04)
        assert ct.array[found].mean() == pytest.approx(hu, abs=0.3)


def test_the_noise_of_a_seed_stays_what_it_was(blocks: Patient) -> None:
    ct, _ = make_copy(blocks, 4, painted=False)
    assert np.abs(ct.array[12, 25, 22:30] - np.array([168, 167, 171, 171, 168, 169, 166, 168])).max() <= 1


def test_where_a_seed_takes_its_points_from_stays_what_it_was(blocks: Patient) -> None:
    """Turned, sized, bent and moved: first, last and some other point, along z, y and x in voxels."""
    at = _sample_points(blocks, (9.0, 8.0, 7.0), np.random.default_rng(7))
    assert at.shape == (3, 12, 19, 20)
    for place, expected in (((0, 0, 0), (0.918, -2.356, 1.85)), ((-1, -1, -1), (8.179, 22.519, 26.059)),
                            ((3, 10, 12), (3.904, 10.839, 17.638))):
        assert at[(slice(None), *place)].tolist() == pytest.approx(expected, abs=0.002)


def test_hu_end_where_a_ct_ends() -> None:
    bright = Patient(np.full((5, 6, 7), 9000), np.full((5, 6, 7), STRUCTURE["liver"], np.uint8), (9.0, 9.0, 9.0))
    assert make_copy(bright, 1, painted=False)[0].array.max() == 3071
    assert make_copy(replace(bright, hu=-bright.hu), 1, painted=False)[0].array.min() == -1024


def test_between_voxels_hu_change_evenly_and_tissues_half_way() -> None:
    """Along x from liver to spleen; outside is air."""
    at = np.zeros((3, 1, 1, 6), np.float32)
    at[2] = -9, 0, 0.25, 0.5, 0.75, 2
    hu = np.array([[[-100.0, 60.0, 20.0]]])
    assert _sampled_hu(hu, at).ravel().tolist() == pytest.approx([-1024, -100, -60, -20, 20, 20])
    tissues = np.array([[[STRUCTURE["spleen"], STRUCTURE["liver"], STRUCTURE["liver"]]]], np.uint8)
    first = min("liver", "spleen", key=STRUCTURE.__getitem__)
    assert [STRUCTURES[number] for number in _sampled_structures(tissues, at).ravel()] == [
        "air", "spleen", "spleen", first, "liver", "liver"]


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


def test_contrast_medium_brightens_the_kidneys_of_some_copies() -> None:
    structures = np.full((9, 16, 20), STRUCTURE["muscle"], np.uint8)
    structures[2:7, 4:12, 5:15] = STRUCTURE["left_kidney_cortex"]
    patient = Patient(np.full(structures.shape, 40), structures, (6.0, 6.0, 8.0))
    kidneys = []
    for seed in range(8):
        ct, labels = make_copy(patient, seed, painted=False)
        kidneys.append(np.median(ct.array[labels.array == 3]))
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


def test_two_in_five_copies_keep_the_patients_own_hu_however_many_there_are(
        files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: list[tuple[Any, ...]] = []
    monkeypatch.setattr(make_painted, "_write_copy", jobs.append)
    monkeypatch.setattr(workers, "ProcessPoolExecutor", InProcess)
    command = ["--image", str(files[0]), "--label", str(files[1]), "--output", str(tmp_path)]
    main(command)
    assert [(folder, seed) for _, folder, seed, _ in jobs] == [(tmp_path, seed) for seed in range(30_000, 30_100)]
    assert InProcess.workers == 2 and jobs[0][3] == "real"
    del jobs[:]
    main([*command, "--first-seed", "7", "--count", "1000"])
    own = np.cumsum([kind == "real" for _, _, _, kind in jobs])
    assert own[-1] == 400 and np.abs(own - 0.4 * np.arange(1, 1001)).max() < 1.5


def test_copies_of_any_contrast_are_all_painted(files: tuple[Path, Path], tmp_path: Path) -> None:
    main(["--image", str(files[0]), "--label", str(files[1]), "--output", str(tmp_path), "--count", "2", "--workers",
          "1", "--contrast", "any"])
    images, labels = (sorted((tmp_path / kind).iterdir()) for kind in ("imagesTr", "labelsTr"))
    assert [path.name for path in images] == [path.name for path in labels] == ["any_30000.nii.gz", "any_30001.nii.gz"]
    patient = read_patient(*files)
    image, label = make_any(patient, 30_000)
    assert np.array_equal(read_volume(images[0]).array, image.array)
    assert np.array_equal(read_volume(labels[0]).array, label.array)


def test_a_copy_of_any_contrast_is_another_patient_in_other_greys(blocks: Patient) -> None:
    copies = [make_any(blocks, seed) for seed in range(12)]
    thickness = [image.spacing[2] for image, _ in copies]
    assert min(thickness) < 4 and 6 < max(thickness) <= 9 and all(1.2 <= image.spacing[0] <= 2.4 for image, _ in copies)
    in_hu = [image for image, _ in copies if image.array.min() < -900]
    ranges = [np.ptp(image.array) for image, _ in copies if image.array.min() >= 0]
    assert in_hu and len(in_hu) + len(ranges) == 12 and all(image.array.dtype == np.int16 for image, _ in copies)
    assert min(ranges) < 1200 and 1800 < max(ranges) <= 3000
    organs = [np.unique(label.array).tolist() for _, label in copies]
    assert all(len(found) > 1 for found in organs)


@pytest.mark.parametrize(("moved", "fits"), [(0.09, True), (0.13, False), (-0.9, False)])
def test_a_label_may_lie_a_tenth_of_a_millimetre_beside_its_image(files: tuple[Path, Path], tmp_path: Path,
                                                                  moved: float, fits: bool) -> None:
    label = read_volume(files[1])
    write_volume(replace(label, origin=(label.origin[0], label.origin[1] + moved, label.origin[2])),
                 tmp_path / "label.nii.gz")
    if fits:
        assert read_patient(files[0], tmp_path / "label.nii.gz").hu.any()
    else:
        assert "lies on another grid" in refusal(lambda: read_patient(files[0], tmp_path / "label.nii.gz"))


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
