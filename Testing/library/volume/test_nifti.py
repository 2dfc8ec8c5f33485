"""NIfTI: what other readers let pass, or fill in, is refused or told."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Header, Nifti2Image
from scipy.spatial.transform import Rotation

from SAMoraLib.volume import Volume, nifti
from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.nifti import read_voxels, stored_bytes
from Testing.refusals import refusal

GRID = np.array([[2.0, 0, 0, -20], [0, 3, 0, 10], [0, 0, 5, 30], [0, 0, 0, 1]])  # RAS mm
LPS_RAS = np.diag([-1.0, -1, 1, 1])
VOXELS = np.random.default_rng(0).integers(0, 30000, (9, 8, 7)).astype(np.int16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_whole_files_pass_in_either_byte_order(tmp_path: Path, order: str, ending: str) -> None:
    header = Nifti1Header(endianness=order)
    header.set_data_dtype(np.int16)
    path = tmp_path / f"v{ending}"
    Nifti1Image(VOXELS, np.diag((-1.0, -1, 2, 1)), header).to_filename(path)
    read_voxels(path)
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
    read_voxels(tmp_path / "v.nii")


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_nifti_2_file_is_read(tmp_path: Path, order: str) -> None:
    Nifti2Image(VOXELS, np.diag((-1.0, -1, 2, 1)), Nifti2Header(endianness=order)).to_filename(tmp_path / "v.nii")
    found = read_volume(tmp_path / "v.nii")
    assert np.array_equal(found.array, VOXELS.T) and found.spacing == (1, 1, 2)


@pytest.mark.parametrize("content", [b"", b"text", b"\0" * 1000])
def test_another_file_under_this_ending_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.nii").write_bytes(content)
    assert "is not a NIfTI file" in refusal(lambda: read_volume(tmp_path / "v.nii"))


def test_sizes_beyond_the_number_of_dimensions_mean_nothing(tmp_path: Path) -> None:
    """Some writers leave there what they find."""
    path = tmp_path / "v.nii"
    Nifti1Image(VOXELS, np.eye(4)).to_filename(path)
    data = bytearray(path.read_bytes())
    data[40 + 2 * 4:40 + 16] = np.full(4, 99, "<i2").tobytes()
    path.write_bytes(data)
    assert np.array_equal(read_volume(path).array, VOXELS.T)
    path.write_bytes(data[:-1])
    assert "is incomplete" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(("count", "message"), [
    (0, "is not a NIfTI file"), (1, "is an image of 1 dimensions (9)"), (2, "is an image of 2 dimensions (9 x 1)"),
    (8, "is not a NIfTI file")])
def test_fewer_than_three_dimensions_are_no_volume(tmp_path: Path, count: int, message: str) -> None:
    path = tmp_path / "v.nii"
    Nifti1Image(np.zeros(9, np.int16), np.eye(4)).to_filename(path)
    data = bytearray(path.read_bytes())
    data[40:42] = np.array(count, "<i2").tobytes()
    path.write_bytes(data)
    assert message in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_a_file_is_whole_whatever_its_voxels_take(tmp_path: Path, kind: type) -> None:
    path = tmp_path / "v.nii"
    Nifti1Image(np.zeros((4, 3, 2), kind), np.eye(4)).to_filename(path)
    read_voxels(path)
    path.write_bytes(path.read_bytes()[:-1])
    expected = 352 + 24 * np.dtype(kind).itemsize
    assert f"is incomplete: {expected - 1} bytes of {expected}" in refusal(lambda: read_voxels(path))


# A small file may claim to be large, or unpack to anything


def bomb(path: Path, **fields: Any) -> Path:
    """A NIfTI with fields changed and 256 MiB of zeros behind it, which pack to a thousandth."""
    Nifti1Image(VOXELS, np.eye(4)).to_filename(path.with_suffix(""))
    data = path.with_suffix("").read_bytes()
    header = Nifti1Header(data[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    with gzip.open(path, "wb", 1) as file:
        file.write(header.binaryblock + data[348:])
        for _ in range(16):
            file.write(bytes(1 << 24))
    return path


def test_no_more_is_unpacked_than_tells_that_it_is_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = bomb(tmp_path / "v.nii.gz"), [0]
    opened = gzip.GzipFile.read

    def counted(self: gzip.GzipFile, size: int = -1) -> bytes:
        data = opened(self, size)
        read[0] += len(data)
        return data

    monkeypatch.setattr(gzip.GzipFile, "read", counted)
    assert "longer than its header says, more than 1360 bytes" in refusal(lambda: read_volume(path))
    assert read[0] < 1 << 25


@pytest.mark.parametrize("offset", [1e9, 1e15, 1e30, -352, np.inf, np.nan])
def test_voxels_do_not_begin_far_away(tmp_path: Path, offset: float) -> None:
    path = bomb(tmp_path / "v.nii.gz", vox_offset=offset)
    assert "its voxels cannot begin at byte" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_memory_is_not_taken_for_what_is_announced(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
                                                   ) -> None:
    path = tmp_path / f"v{ending}"
    Nifti1Image(VOXELS, np.eye(4)).to_filename(path)
    data = bytearray(gzip.decompress(path.read_bytes()) if ending == ".nii.gz" else path.read_bytes())
    data[40:56] = np.array([3, 32767, 32767, 32767, 1, 1, 1, 1], "<i2").tobytes()
    path.write_bytes(gzip.compress(data) if ending == ".nii.gz" else data)
    monkeypatch.setattr(np, "empty", lambda *_: pytest.fail("memory is taken"))
    message = refusal(lambda: read_volume(path))
    assert "is incomplete: 1360 bytes of 70362301923678" in message or "takes 65530.0 GiB" in message
    assert stored_bytes(path) == 2 * 32767**3


def test_sizes_whose_product_overflows_are_refused(tmp_path: Path) -> None:
    Nifti2Image(VOXELS, np.eye(4)).to_filename(tmp_path / "v.nii")
    data = bytearray((tmp_path / "v.nii").read_bytes())
    data[16:48] = np.array([3, 2**32, 2**32, 2**31], "<i8").tobytes()
    (tmp_path / "v.nii").write_bytes(data)
    assert "is incomplete" in refusal(lambda: read_volume(tmp_path / "v.nii"))
    assert stored_bytes(tmp_path / "v.nii") == 2**96


# The header may contradict itself, or the file


def edited(path: Path, change: Callable[[np.ndarray], None], **image: Any) -> Path:
    """A file of a plain grid of 2 x 3 x 5 mm, whose header ``change`` may write to."""
    made = Nifti1Image(VOXELS, image.get("affine", GRID))
    made.set_qform(image.get("qform", GRID), image.get("codes", (1, 1))[0])
    made.set_sform(image.get("affine", GRID), image.get("codes", (1, 1))[1])
    made.header.set_xyzt_units(image.get("unit", "mm"))
    data = bytearray(made.to_bytes())
    header = np.frombuffer(data, Nifti1Header.template_dtype, 1)
    change(header)
    content = bytes(data)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def put(**fields: Any) -> Callable[[np.ndarray], None]:
    def change(header: np.ndarray) -> None:
        for name, value in fields.items():
            header[name] = value
    return change


@pytest.mark.parametrize(("change", "message"), [
    (put(dim=[3, 9, 8, 6, 1, 1, 1, 1]), "is longer than its header says"),
    (put(dim=[3, 8, 8, 7, 1, 1, 1, 1]), "is longer than its header says"),
    (put(dim=[3, 9, 8, 8, 1, 1, 1, 1]), "is incomplete"),
    (put(dim=[3, 9, 8, 0, 1, 1, 1, 1]), "has the extents 9 x 8 x 0"),
    (put(dim=[3, 9, -8, 7, 1, 1, 1, 1]), "has the extents 9 x -8 x 7"),
    (put(dim=[4, 9, 8, 7, 2, 1, 1, 1]), "has 4 dimensions"),
    (put(dim=[5, 9, 8, 7, 1, 3, 1, 1]), "vector image with 3 components"),
    (put(bitpix=8), "cannot take 8 bits"),
    (put(datatype=16), "cannot take 16 bits"),
    (put(datatype=2, bitpix=8), "is longer than its header says"),
    (put(datatype=1, bitpix=1), "values of type 1"),
    (put(datatype=128, bitpix=24), "colour or vector image with 3"),
    (put(datatype=1792, bitpix=128), "values of type complex128"),
    (put(vox_offset=0), "cannot begin at byte 0"),
    (put(vox_offset=340), "cannot begin at byte 340"),
    (put(vox_offset=360), "is incomplete"),
    (put(vox_offset=352.5), "cannot begin at byte 352.5"),
    (put(vox_offset=np.nan), "cannot begin at byte nan"),
    (put(vox_offset=-1), "cannot begin at byte -1"),
    (put(scl_slope=np.inf), "scaled by inf"),
    (put(scl_slope=1, scl_inter=np.inf), "scaled by 1 and inf"),
    (put(xyzt_units=5), "the unit 5"),
    (put(magic=b"ni1"), "is not a NIfTI file"),
])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_fields_that_contradict_the_file_are_refused(tmp_path: Path, change: Callable[[np.ndarray], None], message: str,
                                                     ending: str) -> None:
    path = edited(tmp_path / f"v{ending}", change)
    assert message in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(("slope", "offset", "factor", "added"), [
    (0, -1024, 1, 0), (np.nan, np.nan, 1, 0), (1, 0, 1, 0), (1, np.nan, 1, 0), (2, -1024, 2, -1024), (0.5, 1, 0.5, 1),
    (-1, 0, -1, 0)])
def test_a_slope_of_0_means_no_scaling(tmp_path: Path, slope: float, offset: float, factor: float, added: float
                                       ) -> None:
    found = read_volume(edited(tmp_path / "v.nii.gz", put(scl_slope=slope, scl_inter=offset))).array
    assert np.array_equal(found, VOXELS.T.astype(float) * factor + added)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, order: str, kind: type, value: float, ending: str
                                                ) -> None:
    voxels = VOXELS.astype(kind)
    voxels[3:5, 2, 1] = value
    Nifti1Image(voxels, GRID, Nifti1Header(endianness=order), dtype=kind).to_filename(tmp_path / f"v{ending}")
    assert "has 2 voxels that are NaN or infinite" in refusal(lambda: read_volume(tmp_path / f"v{ending}"))


# Where the voxels lie, and how large they are


def told(path: Path) -> tuple[Volume, list[str]]:
    messages: list[str] = []
    return read_volume(path, messages.append), messages


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (2, 4), (1, 2)])
@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -20, 30)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_plain_grid_is_read_without_a_word(tmp_path: Path, codes: tuple[int, int], turn: tuple[int, int, int],
                                             mirrored: bool) -> None:
    affine = turned(turn)
    affine[:3, 0] *= -1 if mirrored else 1
    found, messages = told(edited(tmp_path / "v.nii", put(), affine=affine, qform=affine, codes=codes))
    assert np.allclose(LPS_RAS @ found.ijk_to_lps, affine, atol=1e-4) and not messages


def turned(degrees: tuple[int, int, int]) -> np.ndarray:
    affine = GRID.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ GRID[:3, :3]
    return affine


@pytest.mark.parametrize(("size", "codes"), [((1, 1, 1), (1, 1)), ((2, 3, 1), (0, 1)), ((0, 0, 0), (1, 1)),
                                             ((np.nan, 3, 5), (1, 1)), ((-2, 3, 5), (0, 1)), ((20, 3, 5), (2, 2))])
@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -20, 30)])
def test_the_sform_says_how_large_a_voxel_is(tmp_path: Path, size: tuple[float, ...], codes: tuple[int, int],
                                             turn: tuple[int, int, int]) -> None:
    affine = turned(turn)
    path = edited(tmp_path / "v.nii", lambda header: header["pixdim"][0].__setitem__(slice(1, 4), size), affine=affine,
                  qform=affine, codes=codes)
    found, messages = told(path)
    assert found.spacing == pytest.approx((2, 3, 5), rel=1e-5)
    assert any("its sform says 2 x 3 x 5 mm" in message for message in messages)


@pytest.mark.parametrize("size", [(0, 3, 5), (2, 3, 0), (np.nan, 3, 5), (np.inf, 3, 5), (-2, 3, 5), (2, 3, 500)])
@pytest.mark.parametrize("codes", [(1, 0), (0, 0)])
def test_without_a_sform_an_impossible_size_is_refused(tmp_path: Path, size: tuple[float, ...], codes: tuple[int, int]
                                                       ) -> None:
    path = edited(tmp_path / "v.nii", lambda header: header["pixdim"][0].__setitem__(slice(1, 4), size), codes=codes)
    assert "mm, which cannot be" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("mm", 1), ("micron", 0.001), ("unknown", 1)])
@pytest.mark.parametrize("codes", [(1, 0), (1, 1)])
def test_lengths_have_a_unit(tmp_path: Path, unit: str, factor: float, codes: tuple[int, int]) -> None:
    affine = GRID.copy()
    affine[:3] /= factor
    found, messages = told(edited(tmp_path / "v.nii", put(), affine=affine, qform=affine, codes=codes, unit=unit))
    assert np.allclose(LPS_RAS @ found.ijk_to_lps, GRID, atol=1e-4) and not messages


@pytest.mark.parametrize("factor", [1000, 0.001])
def test_another_unit_that_is_not_named_is_refused(tmp_path: Path, factor: float) -> None:
    path = edited(tmp_path / "v.nii", put(), affine=np.diag([2 / factor, 3 / factor, 5 / factor, 1]),
                  qform=np.diag([2 / factor, 3 / factor, 5 / factor, 1]))
    assert "mm, which cannot be" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize("codes", [(1, 1), (1, 2), (2, 1), (4, 3)])
@pytest.mark.parametrize("change", ["turned", "moved"])
def test_two_forms_that_disagree_are_told_and_the_sform_taken(tmp_path: Path, codes: tuple[int, int], change: str
                                                              ) -> None:
    other = turned((0, 0, 10)) if change == "turned" else GRID + 2 * np.eye(4)[[0]].T * np.eye(4)[3]
    found, messages = told(edited(tmp_path / "v.nii", put(), affine=GRID, qform=other, codes=codes))
    assert np.allclose(LPS_RAS @ found.ijk_to_lps, GRID, atol=1e-4)
    assert len(messages) == 1 and "disagree by up to" in messages[0]


def sized(axis: int, size: float, shift: float = 0.0) -> np.ndarray:
    """The plain grid with other voxels along an axis, and its first one moved along it."""
    affine = GRID.copy()
    affine[axis, axis], affine[axis, 3] = size, GRID[axis, 3] + shift
    return affine


@pytest.mark.parametrize(("axis", "size", "apart"), [(0, 4.0, 16), (1, 5.0, 14), (2, 7.0, 12)])
@pytest.mark.parametrize("at_the_end", [True, False])
def test_two_forms_are_compared_at_the_farthest_corner(tmp_path: Path, axis: int, size: float, apart: int,
                                                       at_the_end: bool) -> None:
    """Of 9 x 8 x 7 voxels, each 2 mm longer by the qform: where the first coincide the last are apart."""
    other = sized(axis, size, 0 if at_the_end else -apart)
    messages = told(edited(tmp_path / "v.nii", put(), qform=other))[1]
    assert any(f"disagree by up to {apart} mm" in message for message in messages)


@pytest.mark.parametrize(("change", "told_of"), [
    (GRID, ""), (sized(0, 2, 1), ""), (sized(2, 5, -1), ""), (sized(1, 3, 1.25), "disagree by up to 1 mm"),
    (sized(0, 2.019), ""), (sized(0, 2.021), "names voxels of 2.021 x 3 x 5 mm"),
    (sized(2, 5.051), "names voxels of 2 x 3 x 5.051 mm")],
    ids=["same", "moved-1", "moved-back", "moved-more", "rounded", "wider", "higher"])
def test_small_differences_of_two_forms_are_rounding(tmp_path: Path, change: np.ndarray, told_of: str) -> None:
    messages = told(edited(tmp_path / "v.nii", put(), qform=change))[1]
    assert len(messages) == bool(told_of) and told_of in "".join(messages)


def test_voxels_below_a_millimetre_are_compared_too(tmp_path: Path) -> None:
    small = np.diag([0.5, 0.75, 0.9, 1])
    assert not told(edited(tmp_path / "v.nii", put(), affine=small, qform=small))[1]
    moved = small + 4 * np.eye(4)[[1]].T * np.eye(4)[3]
    assert "disagree by up to 4 mm" in told(edited(tmp_path / "v.nii", put(), affine=small, qform=moved))[1][0]


@pytest.mark.parametrize(("fields", "signs"), [
    ({"quatern_b": 1}, (1, -1, -1)), ({"quatern_c": 1}, (-1, 1, -1)), ({"quatern_d": 1}, (-1, -1, 1)),
    ({"quatern_d": 1.0004}, (-1, -1, 1)), ({"quatern_d": 1, "qfac": -1}, (-1, -1, -1)),
    ({"quatern_b": 1, "qfac": 0}, (1, -1, -1))])
def test_half_a_turn_is_a_rotation(tmp_path: Path, fields: dict[str, float], signs: tuple[int, ...]) -> None:
    def change(header: np.ndarray) -> None:
        for name, value in fields.items():
            if name == "qfac":
                header["pixdim"][0][0] = value
            else:
                header[name] = value

    found = read_volume(edited(tmp_path / "v.nii", change, codes=(1, 0)))
    assert np.allclose((LPS_RAS @ found.ijk_to_lps)[:3, :3], np.diag(signs) * (2, 3, 5), atol=1e-3)


def test_a_qform_a_little_longer_than_a_rotation_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "v.nii", put(quatern_d=1.0006), codes=(1, 0))
    assert "its qform is no rotation" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(("kind", "scaled"), [(np.uint8, np.float32), (np.int32, np.float32), (np.float32, np.float32),
                                              (np.int64, np.float64), (np.float64, np.float64)])
def test_scaled_values_are_as_wide_as_they_need(tmp_path: Path, kind: type, scaled: type,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(nifti, "require_room", lambda _, size: asked.append(size))
    image = Nifti1Image(VOXELS.astype(kind), GRID, dtype=kind)
    image.header.set_slope_inter(2, -1024)
    (tmp_path / "v.nii").write_bytes(image.to_bytes())
    found = read_volume(tmp_path / "v.nii").array
    assert found.dtype == scaled and np.array_equal(found, VOXELS.T.astype(kind) * 2.0 - 1024)
    assert asked == [504 * np.dtype(kind).itemsize, 504 * np.dtype(scaled).itemsize]


@pytest.mark.parametrize("dim", [[4, 9, 8, 7, 1, 9, 9, 9], [5, 9, 8, 7, 1, 1, 9, 9], [7, 9, 8, 7, 1, 1, 1, 1]])
def test_further_dimensions_of_one_are_left_out(tmp_path: Path, dim: list[int]) -> None:
    assert read_voxels(edited(tmp_path / "v.nii", put(dim=dim))).shape == (7, 8, 9)


@pytest.mark.parametrize(("dim", "message"), [
    ([5, 9, 8, 7, 1, 2, 1, 1], "image with 2 components"), ([4, 9, 8, 7, 2, 2, 1, 1], "has 4 dimensions"),
    ([6, 9, 8, 7, 1, 1, 2, 1], "has 6 dimensions")])
def test_further_dimensions_of_two_are_refused(tmp_path: Path, dim: list[int], message: str) -> None:
    path = edited(tmp_path / "v.nii", put(dim=dim))
    assert message in refusal(lambda: read_voxels(path))


@pytest.mark.parametrize("kind", [Nifti1Image, Nifti2Image])
def test_a_header_alone_says_what_voxels_take(tmp_path: Path, kind: type[Nifti1Image]) -> None:
    data = kind(VOXELS, GRID).to_bytes()
    length = 348 if kind is Nifti1Image else 540
    (tmp_path / "v.nii").write_bytes(data[:length])
    assert stored_bytes(tmp_path / "v.nii") == 1008
    (tmp_path / "v.nii").write_bytes(data[:length - 1])
    assert "is not a NIfTI file" in refusal(lambda: stored_bytes(tmp_path / "v.nii"))


def test_two_forms_of_which_one_is_a_mirror_image_are_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "v.nii", put(), affine=GRID * [-1, 1, 1, 1])
    assert "left and right are not known" in refusal(lambda: read_volume(path))


def test_no_form_at_all_is_told(tmp_path: Path) -> None:
    found, messages = told(edited(tmp_path / "v.nii", put(), codes=(0, 0)))
    assert found.spacing == (2, 3, 5) and len(messages) == 1 and "does not say how the patient lies" in messages[0]


@pytest.mark.parametrize("change", [put(srow_x=[np.nan, 0, 0, 0]), put(srow_y=[0, 3, 0, np.inf])])
def test_a_place_that_is_not_finite_is_refused(tmp_path: Path, change: Callable[[np.ndarray], None]) -> None:
    path = edited(tmp_path / "v.nii", change)
    assert "does not say where its voxels lie" in refusal(lambda: read_volume(path))


def test_a_qform_that_is_no_rotation_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path / "v.nii", put(quatern_b=1, quatern_c=1), codes=(1, 0))
    assert "its qform is no rotation" in refusal(lambda: read_volume(path))


@pytest.mark.parametrize(("kind", "slope", "expected"), [(np.int16, 1, 1008), (np.int16, 2, 2016), (np.uint8, 1, 504)])
def test_the_header_says_what_the_voxels_take(tmp_path: Path, kind: type, slope: float, expected: int) -> None:
    image = Nifti1Image(VOXELS.astype(kind), GRID)
    image.header.set_slope_inter(slope, 0)
    (tmp_path / "v.nii").write_bytes(image.to_bytes())
    assert stored_bytes(tmp_path / "v.nii") == expected
