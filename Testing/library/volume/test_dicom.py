"""Folders of DICOM slices: what ITK would stack without a word is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from SAMoraLib.volume.dicom import is_dicom, order_of_slices
from SAMoraLib.volume.io import read_volume, stored_bytes
from Testing.comma_locale import comma_locale
from Testing.refusals import refusal

STRAIGHT = np.eye(3)
STEP = 2.5
POSITION_TAG, ORIENTATION_TAG = b"\x20\x00\x32\x00", b"\x20\x00\x37\x00"
HU = np.random.default_rng(0).integers(-1000, 1000, (6, 8, 9)).astype(np.int16)


def write_slices(folder: Path, position: Callable[[int], object], axes: np.ndarray = STRAIGHT,
                 decimals: int = 6, voxels: Sequence[np.ndarray] = tuple(HU)) -> Path:
    """Six slices; number n lies at ``position(n)`` (LPS mm), rows and columns along the first columns of ``axes``."""
    folder.mkdir()
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number, slice_ in enumerate(voxels):
        image = sitk.GetImageFromArray(slice_)
        image.SetSpacing((0.8, 0.9))
        content = {"0008|0060": "CT", "0020|000e": "1.2.3.1", "0020|000d": "1.2.3", "0008|0008": "DERIVED\\SECONDARY",
                   "0008|0018": f"1.2.3.1.{number + 1}", "0020|0013": str(number), "0028|1052": "-1024",
                   "0028|1053": "1", "0020|0037": text(axes.T[:2], 6), "0020|0032": text(position(number), decimals)}
        for tag, value in content.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number}.dcm"))
        writer.Execute(image)
    return folder


def text(numbers: object, decimals: int) -> str:
    return "\\".join(f"{number:.{decimals}f}" for number in np.ravel(numbers))


def straight(number: int) -> np.ndarray:
    return np.array((-10, -20, 30 + STEP * number))


def replace_bytes(file: Path, old: bytes, new: bytes) -> None:
    content = file.read_bytes()
    assert old in content and len(old) == len(new)
    file.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("turn", [(0, 0, 0), (10, -20, 30), (90, 0, 0), (0, 90, 45)])
def test_an_oblique_series_lies_where_its_headers_say(tmp_path: Path, turn: tuple[float, float, float]) -> None:
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    found = read_volume(write_slices(tmp_path / "ct", lambda n: axes @ (5, 6, STEP * n), axes))
    assert np.allclose(found.ijk_to_lps[:3, :3], axes * (0.8, 0.9, STEP), atol=1e-4)
    assert found.origin == pytest.approx(axes @ (5, 6, 0), abs=1e-5)
    assert np.array_equal(found.array, HU)


def test_slices_are_sorted_by_position_and_not_by_number(tmp_path: Path) -> None:
    found = read_volume(write_slices(tmp_path / "ct", lambda n: straight(-n)))
    assert np.array_equal(found.array, HU[::-1])
    assert found.origin == pytest.approx((-10, -20, 30 - 5 * STEP))


def test_positions_rounded_to_a_tenth_are_even(tmp_path: Path) -> None:
    axes = Rotation.from_euler("xyz", (7, 11, 0), degrees=True).as_matrix()
    write_slices(tmp_path / "ct", lambda n: axes @ (0, 0, 1.25 * n), axes, decimals=1)
    assert read_volume(tmp_path / "ct").spacing[2] == pytest.approx(1.25, abs=0.02)


@pytest.mark.parametrize("position", [lambda n: straight(0), lambda n: straight(n // 2), lambda n: straight(n + n // 3),
                                      lambda n: straight(n * n)],
                         ids=["all in one place", "doubled", "one missing", "growing distance"])
def test_slices_that_form_no_even_stack_are_refused(tmp_path: Path, position: Callable[[int], np.ndarray]) -> None:
    write_slices(tmp_path / "ct", position)
    assert "missing or doubled" in refusal(lambda: read_volume(tmp_path / "ct"))


@pytest.mark.parametrize(("step", "off", "passes"), [
    (5.0, 0.5, True), (5.0, 0.6, False), (5.0, -0.5, True), (1.0, 0.15, True), (1.0, 0.2, False), (0.5, 0.1, True),
    (0.5, 0.15, False)])
def test_a_slice_may_lie_a_tenth_of_the_distance_off_the_grid(tmp_path: Path, step: float, off: float, passes: bool
                                                              ) -> None:
    """And what writers round to one decimal, 0.06 mm."""
    write_slices(tmp_path / "ct", lambda n: np.array((-10, -20, 30 + step * n + off * (n == 2))))
    if passes:
        assert read_volume(tmp_path / "ct").spacing[2] == pytest.approx(step)
    else:
        message = refusal(lambda: read_volume(tmp_path / "ct"))
        assert f"are {step - off:.2f} to {step + off:.2f} mm apart" in message


@pytest.mark.parametrize(("shift", "passes"), [(0.05, True), (0.09, False), (-0.05, True)])
def test_a_stack_may_lean_by_what_rounding_does(tmp_path: Path, shift: float, passes: bool) -> None:
    """Of 20 mm a thousandth, 0.02, and what writers round to one decimal, 0.06 mm."""
    write_slices(tmp_path / "ct", lambda n: np.array((-10 + shift * n / 5, -20, 30 + 4 * n)))
    if passes:
        assert read_volume(tmp_path / "ct").array.shape == HU.shape
    else:
        assert "not at right angles" in refusal(lambda: read_volume(tmp_path / "ct"))


def test_files_are_ordered_along_the_normal_of_the_first(tmp_path: Path) -> None:
    axes = Rotation.from_euler("xyz", (10, -20, 30), degrees=True).as_matrix()
    heights = (3, -1, 7, 0, 2, 5)
    folder = write_slices(tmp_path / "ct", lambda n: axes @ (5, 6, heights[n]), axes)
    names = [str(folder / f"{number}.dcm") for number in range(6)]
    assert order_of_slices("ct", names) == [1, 3, 4, 0, 5, 2]
    (folder / "0.dcm").write_bytes(b"no slice")
    assert "cannot be read: files are damaged" in refusal(lambda: order_of_slices("ct", names))


@pytest.mark.parametrize("degrees", [2, -15])
def test_a_tilted_gantry_is_refused(tmp_path: Path, degrees: float) -> None:
    shift = STEP * np.tan(np.deg2rad(degrees))
    write_slices(tmp_path / "ct", lambda n: np.add(straight(n), (0, shift * n, 0)))
    assert "The axes of 'ct' are not at right angles" in refusal(lambda: read_volume(tmp_path / "ct"))


@pytest.mark.parametrize("tag", [POSITION_TAG, ORIENTATION_TAG])
def test_a_slice_without_a_place_is_refused(tmp_path: Path, tag: bytes) -> None:
    write_slices(tmp_path / "ct", straight)
    replace_bytes(tmp_path / "ct/3.dcm", tag, tag[:2] + b"\xf1\x00")
    message = refusal(lambda: read_volume(tmp_path / "ct"))
    assert "does not say where its slice lies" in message or "DICOM series" in message


@pytest.mark.parametrize("damaged", [b"0\\0\\0\\0\\0\\0", b"1\\0\\0\\1\\1\\0", b"a\\0\\0\\0\\1\\0"])
def test_a_damaged_orientation_is_refused(tmp_path: Path, damaged: bytes) -> None:
    """ITK takes the patient's axes instead."""
    write_slices(tmp_path / "ct", straight)
    for file in (tmp_path / "ct").iterdir():
        replace_bytes(file, b"1\\0\\0\\0\\1\\0", damaged)
    assert "orientation is damaged" in refusal(lambda: read_volume(tmp_path / "ct"))


def test_a_slice_turned_against_the_others_is_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", straight)
    replace_bytes(tmp_path / "ct/5.dcm", b"1\\0\\0\\0\\1\\0", b"0\\1\\0\\1\\0\\0")
    message = refusal(lambda: read_volume(tmp_path / "ct"))
    assert "are not parallel" in message or "holds 2 DICOM series" in message


def test_slices_of_two_sizes_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", straight, voxels=[*HU[:5], HU[5, :4, :4]])
    assert "differ in size" in refusal(lambda: read_volume(tmp_path / "ct"))


def test_a_note_beside_the_slices_is_ignored(tmp_path: Path) -> None:
    write_slices(tmp_path / "ct", straight)
    (tmp_path / "ct/note.txt").write_text("text", encoding="utf-8")
    assert read_volume(tmp_path / "ct").array.shape == HU.shape


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")
@pytest.mark.parametrize("odd", ["folder", "files", "both"])
def test_a_series_whose_names_are_no_text_is_read(tmp_path: Path, odd: str) -> None:
    name = os.fsdecode(b"M\xfcller")
    folder = write_slices(tmp_path / "ct", straight)
    if odd != "folder":
        for path in list(folder.iterdir()):
            path.rename(folder / f"{name} {path.name}")
    if odd != "files":
        folder = folder.rename(tmp_path / name)
    assert np.array_equal(read_volume(folder).array, HU)
    assert stored_bytes(folder) >= HU.nbytes and len(list(folder.iterdir())) == len(HU)


def test_a_decimal_comma_of_the_process_changes_nothing(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
                                                        ) -> None:
    folder = write_slices(tmp_path / "ct", straight)
    with comma_locale(tmp_path_factory.mktemp("locales")):
        found = read_volume(folder)
    assert np.allclose(found.spacing, (0.8, 0.9, STEP)) and np.array_equal(found.array, HU)


def test_a_dicom_file_is_known_by_its_mark(tmp_path: Path) -> None:
    folder = write_slices(tmp_path / "ct", straight)
    (tmp_path / "text.dcm").write_text("DICM", encoding="utf-8")
    assert is_dicom(folder / "0.dcm")
    assert not any(map(is_dicom, (tmp_path / "text.dcm", folder, tmp_path / "none.dcm")))
