"""What ITK lets pass: NIfTI files cut short, and a sheared sform behind a straight qform."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image

from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.nifti import check_nifti
from Testing.refusals import refusal

VOXELS = np.random.default_rng(0).integers(0, 30000, (9, 8, 7)).astype(np.int16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_whole_files_pass_in_either_byte_order(tmp_path: Path, order: str, ending: str) -> None:
    header = Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    path = tmp_path / f"v{ending}"
    Nifti1Image(VOXELS, np.diag((-1.0, -1, 2, 1)), header).to_filename(path)
    check_nifti(path)
    assert np.array_equal(read_volume(path).array, VOXELS.T)


@pytest.mark.parametrize("lost", [1, 400, 1008])
def test_a_file_cut_short_is_refused(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "v.nii"
    nibabel.save(Nifti1Image(VOXELS, np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-lost])
    assert f"is incomplete: {1360 - lost} bytes of 1360" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_compressed_file_cut_short_is_refused(tmp_path: Path, part: float) -> None:
    path = tmp_path / "v.nii.gz"
    nibabel.save(Nifti1Image(VOXELS, np.eye(4)), path)
    data = path.read_bytes()
    path.write_bytes(data[:int(part * len(data))])
    assert "damaged or incomplete" in refusal(lambda: read_volume(path))


def test_a_changed_byte_in_a_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    nibabel.save(Nifti1Image(VOXELS, np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
    assert "damaged or incomplete" in refusal(lambda: read_volume(path))


def test_a_sheared_sform_is_refused_though_the_qform_is_straight(tmp_path: Path) -> None:
    affine = np.diag((1.0, 1, 2, 1))
    affine[0, 1] = 0.3
    image = Nifti1Image(VOXELS, None)
    image.set_sform(affine, code=1)
    image.set_qform(np.diag((1.0, 1, 2, 1)), code=1)
    image.to_filename(tmp_path / "v.nii.gz")
    assert "not at right angles" in refusal(lambda: read_volume(tmp_path / "v.nii.gz"))


def test_an_unused_sform_may_hold_anything(tmp_path: Path) -> None:
    image = Nifti1Image(VOXELS, None)
    image.set_qform(np.eye(4), code=1)
    image.header["srow_x"] = (1, 1, 1, 1)
    image.header["sform_code"] = 0
    image.to_filename(tmp_path / "v.nii")
    check_nifti(tmp_path / "v.nii")


def test_a_nifti_2_file_is_refused(tmp_path: Path) -> None:
    Nifti2Image(VOXELS, np.eye(4)).to_filename(tmp_path / "v.nii")
    assert "is not a NIfTI-1 file" in refusal(lambda: read_volume(tmp_path / "v.nii"))


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 1000])
def test_another_file_under_this_ending_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.nii").write_bytes(content)
    assert "is not a NIfTI-1 file" in refusal(lambda: read_volume(tmp_path / "v.nii"))


@pytest.mark.parametrize("count", [2, 3])
def test_sizes_beyond_the_number_of_dimensions_mean_nothing(tmp_path: Path, count: int) -> None:
    """Some writers leave there what they find."""
    path = tmp_path / "v.nii"
    Nifti1Image(VOXELS[..., 0] if count == 2 else VOXELS, np.eye(4)).to_filename(path)
    data = bytearray(path.read_bytes())
    data[40 + 2 * (count + 1):40 + 16] = np.full(7 - count, 99, "<i2").tobytes()
    path.write_bytes(data)
    check_nifti(path)
    path.write_bytes(data[:-1])
    assert "is incomplete" in refusal(lambda: check_nifti(path))


@pytest.mark.parametrize(("count", "passes"), [(0, False), (1, True), (7, True), (8, False)])
def test_one_to_seven_dimensions_are_a_nifti(tmp_path: Path, count: int, passes: bool) -> None:
    path = tmp_path / "v.nii"
    Nifti1Image(np.zeros(9, np.int16), np.eye(4)).to_filename(path)
    data = bytearray(path.read_bytes())
    data[40:42] = np.array(count, "<i2").tobytes()
    path.write_bytes(data)
    if passes:
        check_nifti(path)
    else:
        assert "is not a NIfTI-1 file" in refusal(lambda: check_nifti(path))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_a_file_is_whole_whatever_its_voxels_take(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "v.nii"
    Nifti1Image(np.zeros((4, 3, 2), kind), np.eye(4)).to_filename(path)
    check_nifti(path)
    path.write_bytes(path.read_bytes()[:-1])
    expected = 352 + 24 * np.dtype(kind).itemsize
    assert f"is incomplete: {expected - 1} bytes of {expected}" in refusal(lambda: check_nifti(path))
