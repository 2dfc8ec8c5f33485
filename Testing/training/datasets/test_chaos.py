"""CHAOS: DICOM slices with PNG masks become volumes, pairs by name and slices by position."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from SAMoraLib.volume.io import read_volume
from Testing.training.datasets.miniature import prepared, refused
from Training.datasets import chaos

SLICES = np.random.default_rng(0).integers(0, 1000, (5, 8, 9)).astype(np.int16)


def _write_slices(folder: Path, names: list[str], downwards: bool) -> None:
    folder.mkdir(parents=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, name in enumerate(names):
        dicom = sitk.GetImageFromArray(SLICES[number])
        dicom.SetSpacing((0.7, 0.7))
        height = 3.0 * (len(names) - number if downwards else number)
        # Every slice says that it is a series of its own, as the anonymised files do.
        content = {"0008|0060": "CT", "0020|000d": "1.2", "0020|000e": f"1.2.{number + 1}",
                   "0008|0018": f"1.2.3.{number + 1}", "0020|0037": "1\\0\\0\\0\\1\\0", "0020|0032": f"5\\6\\{height}"}
        for tag, value in content.items():
            dicom.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{name}.dcm"))
        writer.Execute(dicom)


def _write_masks(folder: Path, names: list[str], grey: list[int]) -> None:
    """Mask n has the row n, of the organ n."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        mask = np.zeros(SLICES.shape[1:], np.uint8)
        mask[number] = grey[number % len(grey)]
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(folder / f"{name}.png"))


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """The CT of a patient and the MR of another; the CT's names run against its positions."""
    root = tmp_path / "CHAOS_Train_Sets" / "Train_Sets"
    _write_slices(root / "CT" / "1" / "DICOM_anon", [f"i{n:04d},0000b" for n in range(5)], downwards=True)
    _write_masks(root / "CT" / "1" / "Ground", [f"liver_GT_{n:03d}" for n in range(5)], [255])
    for sequence, phases in (("T2SPIR", [""]), ("T1DUAL", ["InPhase", "OutPhase"])):
        names = [f"IMG-0002-{n:05d}" for n in range(1, 6)]
        for phase in phases:
            _write_slices(root / "MR" / "2" / sequence / "DICOM_anon" / phase, names, downwards=False)
        _write_masks(root / "MR" / "2" / sequence / "Ground", names, [63, 126, 189, 252])
    return tmp_path / "CHAOS_Train_Sets"


def test_a_mask_stays_with_its_slice(download: Path) -> None:
    manifest = prepared("chaos", download.parent, "--part", "ct", "--partial", "--fractions", "1", "0", "0")
    (case,) = manifest.cases
    image, label = read_volume(manifest.image_path(case)), read_volume(manifest.label_path(case))
    assert (case.id, case.image, case.label) == ("01", "volumes/01_image.nii.gz", "volumes/01_label.nii.gz")
    assert image.spacing == pytest.approx((0.7, 0.7, 3.0)) and image.origin == pytest.approx((5, 6, 3))
    assert np.array_equal(image.array, SLICES[::-1])  # from the feet, although the names start at the head
    for number, plane in enumerate(label.array[::-1]):
        assert np.unique(np.nonzero(plane)[0]).tolist() == [number] and plane.max() == 1
    assert manifest.labels.names == ("liver",)


@pytest.mark.parametrize("part", ["t2", "t1_in", "t1_out"])
def test_four_organs_of_the_mr(download: Path, part: str) -> None:
    manifest = prepared("chaos", download, "--part", part, "--partial", "--fractions", "1", "0", "0")
    label = read_volume(manifest.label_path(manifest.cases[0]))
    assert [int(plane.max()) for plane in label.array] == [1, 2, 3, 4, 1]
    assert manifest.labels.names == ("liver", "right_kidney", "left_kidney", "spleen") and manifest.modality == "MR"


def test_goes_on_where_it_was_interrupted(download: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepared("chaos", download, "--part", "ct", "--partial", "--fractions", "1", "0", "0")
    monkeypatch.setattr(chaos, "read_images", None)  # whoever converts again fails
    assert prepared("chaos", download, "--part", "ct", "--partial", "--fractions", "1", "0", "0") == first


def test_a_full_disk_is_one_sentence(download: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: object, path: str, useCompression: bool) -> None:
        Path(path).write_bytes(b"the beginning")
        raise RuntimeError("no space left")

    monkeypatch.setattr(sitk, "WriteImage", full)
    one = "--part", "ct", "--partial", "--fractions", "1", "0", "0"
    assert "01_image.nii.gz' could not be written" in refused("chaos", download, *one)
    assert not list((download.parent / "refused" / "volumes").iterdir())


def test_refuses_what_is_not_whole(download: Path) -> None:
    message = refused("chaos", download, "--part", "ct")
    assert "lacks 38 of the 40" in message and "2/DICOM_anon, 2/Ground, 5/DICOM_anon" in message
    ct = download / "Train_Sets" / "CT" / "1"
    one = "--part", "ct", "--partial", "--fractions", "1", "0", "0"
    removed = (ct / "Ground" / "liver_GT_004.png").read_bytes()
    (ct / "Ground" / "liver_GT_004.png").unlink()
    assert "'CT/1/DICOM_anon' has 5 DICOM slices but 'CT/1/Ground' 4 PNG masks" in refused("chaos", download, *one)
    (ct / "Ground" / "liver_GT_004.png").write_bytes(removed[:20])
    assert "'liver_GT_004.png' in 'CT/1/Ground' cannot be read" in refused("chaos", download, *one)
    (ct / "Ground" / "liver_GT_004.png").write_bytes(removed)
    (ct / "DICOM_anon" / "i0001,0000b.dcm").write_bytes(b"nothing")
    assert "in 'CT/1/DICOM_anon' is damaged or incomplete: 1 of 5 files" in refused("chaos", download, *one)


def test_refuses_grey_values_without_a_meaning(download: Path) -> None:
    ground = download / "Train_Sets" / "MR" / "2" / "T2SPIR" / "Ground"
    shutil.rmtree(ground)
    _write_masks(ground, [f"IMG-0002-{n:05d}" for n in range(1, 6)], [63, 100])
    assert "holds the numbers [255]" in refused("chaos", download, "--partial", "--fractions", "1", "0", "0")


def test_twenty_patients_each(tmp_path: Path) -> None:
    for case in chaos.MR_CASES:
        for folder in ("DICOM_anon", "Ground"):
            (tmp_path / "MR" / str(case) / "T2SPIR" / folder).mkdir(parents=True)
    found = chaos.find_t2(tmp_path)
    assert len(found.cases) == 20 and not found.missing and found.cases[0].id == "01"


@pytest.mark.parametrize(("modality", "grey", "numbers"), [
    ("CT", (0, 1, 2, 254, 255), (0, 1, 1, 1, 1)),
    ("MR", (0, 54, 55, 70, 71, 109, 110, 135, 136, 174, 175, 200, 201, 239, 240, 255),
     (0, 255, 1, 1, 255, 255, 2, 2, 255, 255, 3, 3, 255, 255, 4, 4)),
])
def test_the_grey_values_of_each_organ(tmp_path: Path, modality: str, grey: tuple[int, ...],
                                       numbers: tuple[int, ...]) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.array([grey], np.uint8)), str(tmp_path / "mask.png"))
    assert chaos._plane(tmp_path / "mask.png", chaos.GREY[modality]).tolist() == [list(numbers)]
