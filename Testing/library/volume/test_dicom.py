"""Folders of DICOM slices: what ITK would stack without a word is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
)
from scipy.spatial.transform import Rotation

from SAMoraLib.volume import dicom
from SAMoraLib.volume.dicom import headers_of, in_order
from SAMoraLib.volume.io import read_volume, stored_bytes
from Testing.comma_locale import comma_locale
from Testing.library.volume import dicom_files as files
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
    files = [folder / f"{number}.dcm" for number in range(6)]
    frames = in_order("ct", [header.frames[0] for header in headers_of("ct", files)])
    assert [frame.file.stem for frame in frames] == list("134052")
    files[0].write_bytes(b"no slice")
    assert "1 of 6 files cannot be read ('0.dcm')" in refusal(lambda: headers_of("ct", files))


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
    assert "does not say where its slice lies" in message or "orientation is damaged" in message


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


# Many frames in a file: read as a series of files is


def frames_folder(folder: Path, *arguments: Any, **options: Any) -> Path:
    files.save(files.frames_file(*arguments, **options), folder / "a.dcm")
    return folder


@pytest.mark.parametrize("order", [range(6), range(5, -1, -1), (3, 0, 5, 1, 4, 2)], ids=["up", "down", "shuffled"])
def test_frames_are_put_in_order_by_position(tmp_path: Path, order: Sequence[int]) -> None:
    found = read_volume(frames_folder(tmp_path / "ct", tuple(order)))
    assert np.array_equal(found.array, files.HU) and found.modality == "CT"
    assert np.allclose(found.ijk_to_lps[:3, :3], files.AXES * (files.ACROSS, files.DOWN, files.STEP), atol=1e-6)
    assert found.origin == pytest.approx(files.place(0), abs=1e-6)


def leaning(number: int, frame: Any) -> None:
    frame.PlanePositionSequence[0].ImagePositionPatient = files.texts(files.place(number)
                                                                      + files.AXES @ (0, number / 2, 0))


def nowhere(number: int, frame: Any) -> None:
    if number == 4:
        del frame.PlanePositionSequence


def turned(number: int, frame: Any) -> None:
    if number == 3:
        axes = files.texts(files.AXES.T[[1, 0]])
        frame.PlaneOrientationSequence = [files.group(ImageOrientationPatient=axes)]


def larger(number: int, frame: Any) -> None:
    if number == 3:
        frame.PixelMeasuresSequence = [files.group(PixelSpacing=["1.8", "1.8"], SliceThickness="2.5")]


def two_phases(number: int, frame: Any) -> None:
    frame.FrameContentSequence[0].TemporalPositionIndex = 1 + number % 2


@pytest.mark.parametrize(("options", "message"), [
    ({"order": (0, 1, 2, 4, 5)}, "2.50 to 5.00 mm apart"),
    ({"order": (0, 1, 2, 2, 3, 4)}, "0.00 to 2.50 mm apart"),
    ({"frame": leaning}, "not at right angles"),
    ({"frame": nowhere}, "does not say where its slice lies"),
    ({"frame": turned}, "not parallel"),
    ({"frame": larger}, "differ in size, 0.8 to 1.8 mm"),
    ({"frame": two_phases}, "holds 2 phases"),
    ({"shared": lambda groups: groups.pop("PixelMeasuresSequence")}, "how large a pixel is"),
    ({"shared": lambda groups: groups.pop("PlaneOrientationSequence")}, "where its slice lies"),
], ids=["missing", "doubled", "tilted", "no place", "turned", "other size", "phases", "no size", "no orientation"])
def test_frames_are_checked_as_slices_are(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    folder = frames_folder(tmp_path / "ct", **options)
    assert message in refusal(lambda: read_volume(folder))


@pytest.mark.parametrize("slopes", [(1, 2, 1, 1, 0.5, 1), (2,) * 6, None])
@pytest.mark.parametrize("kind", [None, MultiFrameGrayscaleWordSecondaryCaptureImageStorage])
def test_every_frame_has_its_own_rescale(tmp_path: Path, slopes: Sequence[float] | None, kind: str | None) -> None:
    """Whatever GDCM knows of its class of objects."""
    data = files.frames_file(slopes=slopes)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind or data.SOPClassUID
    files.save(data, tmp_path / "ct/a.dcm")
    found = read_volume(tmp_path / "ct").array
    half = np.array(slopes or (1,) * 6)[:, None, None] / 2  # stored values are whole numbers
    assert (np.abs(found - files.HU) <= half).all() and (slopes or np.array_equal(found, files.HU))


def test_a_rescale_at_the_top_of_the_file_counts_for_all_frames(tmp_path: Path) -> None:
    data = files.frames_file(shared=lambda groups: groups.pop("PixelValueTransformationSequence"))
    data.RescaleSlope, data.RescaleIntercept = "1", "-1024"
    files.save(data, tmp_path / "ct/a.dcm")
    assert np.array_equal(read_volume(tmp_path / "ct").array, files.HU)


def test_bits_that_are_not_stored_mean_nothing(tmp_path: Path) -> None:
    """An overlay in the highest bits of a file whose frames are scaled each by itself."""
    data = files.frames_file(slopes=(1, 1, 1, 1, 1, 1.5))
    stored = np.frombuffer(data.PixelData, "<u2") & 0x0FFF
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0
    data.PixelData = (stored | 0xF000).astype("<u2").tobytes()
    files.save(data, tmp_path / "ct/a.dcm")
    assert np.array_equal(read_volume(tmp_path / "ct").array[:5], files.HU[:5])


# What a pixel means may change from slice to slice


def first_three(change: files.Edit) -> files.Edit:
    return lambda number, data: change(number, data) if number < 3 else None


def finer(number: int, data: Any) -> None:
    data.RescaleSlope, data.PixelData = "0.5", files.stored(files.HU[number], 0.5)


def moved(number: int, data: Any) -> None:
    data.RescaleIntercept, data.PixelData = "-2000", files.stored(files.HU[number], 1, -2000)


def unsigned(number: int, data: Any) -> None:
    data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, 0


def huge(number: int, data: Any) -> None:
    data.RescaleSlope, data.PixelData = "100", files.stored(files.HU[number] * 100.0, 100)


@pytest.mark.parametrize("change", [finer, moved, unsigned])
def test_slices_scaled_differently_have_the_same_values(tmp_path: Path, change: files.Edit) -> None:
    assert np.array_equal(read_volume(files.series(tmp_path / "ct", first_three(change))).array, files.HU)
    others = files.series(tmp_path / "others", lambda n, data: change(n, data) if n >= 3 else None)
    assert np.array_equal(read_volume(others).array, files.HU)


def test_values_beyond_the_type_of_the_first_slice_are_kept(tmp_path: Path) -> None:
    found = read_volume(files.series(tmp_path / "ct", lambda n, data: huge(n, data) if n == 5 else None)).array
    assert np.array_equal(found[:5], files.HU[:5])
    assert np.abs(found[5] - files.HU[5] * 100.0).max() <= 1024  # the offset is no multiple of the slope


def set_to(**values: Any) -> files.Edit:
    def change(number: int, data: Any) -> None:
        for name, value in values.items():
            setattr(data, name, value)
    return change


def without(*names: str) -> files.Edit:
    def change(number: int, data: Any) -> None:
        for name in names:
            delattr(data, name)
    return change


@pytest.mark.parametrize(("change", "message"), [
    (set_to(PixelSpacing=["1.8", "0.8"]), "differ in size, 0.8 to 1.8 mm"),
    (set_to(PixelSpacing=["0.9", "1.6"]), "differ in size, 0.8 to 1.6 mm"),
    (without("PixelSpacing"), "how large a pixel is"),
    (without("RescaleSlope"), "3 of 6 slices"),
    (without("RescaleIntercept"), "3 of 6 slices"),
    (without("RescaleSlope", "RescaleIntercept"), "3 of 6 slices"),
    (set_to(RescaleSlope="0"), "scaled by 0"),
    (set_to(PhotometricInterpretation="MONOCHROME1"), "coded by MONOCHROME1"),
    (set_to(PhotometricInterpretation="PALETTE COLOR"), "coded by PALETTE COLOR"),
    (set_to(ModalityLUTSequence=[files.group(LUTDescriptor=[2, 0, 16])]), "coded by a modality table"),
    (set_to(Modality="MR"), "several modalities"),
    (set_to(TemporalPositionIdentifier=2), "2 phases"),
    (set_to(EchoNumbers=2), "2 phases"),
    (set_to(Rows=4, PixelData=bytes(72)), "differ in size"),
    (set_to(SeriesInstanceUID="1.2.3.9"), "holds 2 DICOM series"),
])
@pytest.mark.parametrize("part", ["the first", "the last"])
def test_slices_that_do_not_belong_together_are_refused(tmp_path: Path, change: files.Edit, message: str, part: str
                                                        ) -> None:
    first = part == "the first"
    folder = files.series(tmp_path / "ct", lambda n, data: change(n, data) if (n < 3) == first else None)
    assert message in refusal(lambda: read_volume(folder))


@pytest.mark.parametrize(("change", "message"), [
    (without("PixelSpacing"), "how large a pixel is"),
    (set_to(PixelSpacing=["0", "0.8"]), "how large a pixel is"),
    (set_to(PixelSpacing=["0.0009", "0.0008"]), "voxels of 0.0008 x 0.0009 x 2.5 mm"),
    (set_to(PhotometricInterpretation="MONOCHROME1"), "coded by MONOCHROME1"),
    (set_to(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, Rows=2, Columns=12),
     "colour image with 3"),
    (set_to(ImageOrientationPatient=["2", "0", "0", "0", "2", "0"]), "orientation is damaged"),
    (without("ImagePositionPatient"), "where its slice lies"),
])
def test_series_without_what_every_slice_needs_are_refused(tmp_path: Path, change: files.Edit, message: str) -> None:
    folder = files.series(tmp_path / "ct", change)
    assert message in refusal(lambda: read_volume(folder))


@pytest.mark.parametrize(("change", "thickness"), [
    (files.unchanged, 2.5), (set_to(SliceThickness="", SpacingBetweenSlices="3"), 3.0)])
def test_a_lone_slice_is_as_thick_as_it_says(tmp_path: Path, change: files.Edit, thickness: float) -> None:
    found = read_volume(files.series(tmp_path / "ct", change, count=1))
    assert found.array.shape == (1, 8, 9) and found.spacing == pytest.approx((0.8, 0.9, thickness))


@pytest.mark.parametrize("change", [without("SliceThickness"), set_to(SliceThickness="0")])
def test_a_lone_slice_of_unknown_thickness_is_refused(tmp_path: Path, change: files.Edit) -> None:
    folder = files.series(tmp_path / "ct", change, count=1)
    assert "how thick it is" in refusal(lambda: read_volume(folder))


def test_a_lone_slice_may_be_thin(tmp_path: Path) -> None:
    folder = files.series(tmp_path / "ct", set_to(SliceThickness="0.6"), count=1)
    assert read_volume(folder).spacing == pytest.approx((0.8, 0.9, 0.6))


@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("alone", [True, False], ids=["one", "all-but-one"])
def test_one_slice_that_is_scaled_otherwise_is_told_of(tmp_path: Path, name: str, alone: bool) -> None:
    folder = files.series(tmp_path / "ct", lambda n, data: delattr(data, name) if (n == 2) == alone else None)
    assert f"{1 if alone else 5} of 6 slices" in refusal(lambda: read_volume(folder))


def test_an_offset_may_be_0(tmp_path: Path) -> None:
    def change(number: int, data: Any) -> None:
        data.RescaleIntercept, data.PixelData = "0", files.stored(files.HU[number], 1, 0)

    assert np.array_equal(read_volume(files.series(tmp_path / "ct", change)).array, files.HU)


@pytest.mark.parametrize("end", [0, 1])
def test_each_axis_of_a_slice_is_of_length_1(tmp_path: Path, end: int) -> None:
    """To within a hundredth, which the distance of slices does not take over."""
    for length, passes in (("1.009", True), ("1.02", False), ("0.98", False)):
        orientation = ["1", "0", "0", "0", "1", "0"]
        orientation[4 * end] = length
        folder = files.series(tmp_path / length, set_to(ImageOrientationPatient=orientation))
        headers = headers_of("ct", sorted(folder.iterdir()))
        frames = [replace(header.frames[0], position=np.array([0, 0, 2.5 * n])) for n, header in enumerate(headers)]
        if passes:
            assert dicom._check_stack("ct", frames) == pytest.approx(2.5)
        else:
            assert "orientation is damaged" in refusal(lambda frames=frames: dicom._check_stack("ct", frames))


@pytest.mark.parametrize(("shift", "passes"), [(0.078, True), (0.082, False)])
def test_a_stack_leans_by_a_thousandth_of_all_of_it(shift: float, passes: bool) -> None:
    """20 mm high: 0.02 mm, beside what rounding does, 0.06 mm."""
    positions = np.array([(7 + shift * n / 5, -20, 30 + 4 * n) for n in range(6)])
    if passes:
        assert dicom._check_places("ct", positions, np.eye(3)[:, :2]) == pytest.approx(4)
    else:
        assert "not at right angles" in refusal(lambda: dicom._check_places("ct", positions, np.eye(3)[:, :2]))


@pytest.mark.parametrize(("change", "size"), [
    (files.unchanged, 2), (set_to(RescaleSlope="2"), 2), (set_to(RescaleSlope="0.5"), 8),
    (set_to(RescaleIntercept="-0.5"), 8), (set_to(BitsAllocated=8, PixelData=bytes(72)), 2),
    (set_to(BitsAllocated=32, PixelData=bytes(288)), 4)],
    ids=["short", "even", "slope", "offset", "byte", "long"])
def test_what_voxels_take_is_known_by_the_headers(tmp_path: Path, change: files.Edit, size: int,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    folder = files.series(tmp_path / "ct", change)
    assert dicom.stored_bytes(folder) == 6 * 8 * 9 * size
    asked: list[int] = []

    def ask(_: str, size: int) -> None:
        asked.append(size)
        raise ValueError("enough.")

    monkeypatch.setattr(dicom, "require_room", ask)
    refusal(lambda: read_volume(folder))
    assert asked == [6 * 8 * 9 * (2 if size == 8 else size)]


def test_what_many_frames_take_is_known_by_their_header(tmp_path: Path) -> None:
    assert dicom.stored_bytes(frames_folder(tmp_path / "ct", (0, 1, 2, 3))) == 4 * 8 * 9 * 2


@pytest.mark.parametrize(("rescales", "kind", "by_gdcm"), [
    ([(1, 0), (1, 0)], "Enhanced CT Image Storage", True), ([(1, 0), (1, 0)], "CT Image Storage", False),
    ([(1, 0), (1, 5)], "Enhanced CT Image Storage", False), ([(1, 0), (2, 0)], "Enhanced MR Image Storage", False),
    ([(np.nan, np.nan)] * 2, "CT Image Storage", True), ([(np.nan, 0)] * 2, "CT Image Storage", False)])
def test_gdcm_scales_what_it_finds(rescales: list[tuple[float, float]], kind: str, by_gdcm: bool) -> None:
    header = SimpleNamespace(frames=[SimpleNamespace(rescale=rescale) for rescale in rescales], kind=kind)
    assert dicom._scaled_by_gdcm(header) is by_gdcm


# Files that cannot be read


@pytest.mark.parametrize("at", [0, 3, 5])
@pytest.mark.parametrize("length", [0, 100, 140, 300, 400, 600, 800, -1])
def test_a_cut_file_is_counted(tmp_path: Path, at: int, length: int) -> None:
    folder = files.series(tmp_path / "ct")
    path = folder / f"IM{at:04}.dcm"
    path.write_bytes(path.read_bytes()[:length])
    assert f"1 of 6 files cannot be read ('IM{at:04}.dcm')" in refusal(lambda: read_volume(folder))


@pytest.mark.parametrize("content", [b"", bytes(1000), b"\xff" * 1000], ids=["empty", "zeros", "ones"])
def test_a_file_with_nothing_of_dicom_left_is_counted_if_it_is_called_as_the_slices_are(tmp_path: Path, content: bytes
                                                                                       ) -> None:
    folder = files.series(tmp_path / "ct")
    (folder / "IM0006.dcm").write_bytes(content)
    assert "1 of 7 files cannot be read" in refusal(lambda: read_volume(folder))
    (folder / "IM0006.dcm").rename(folder / "thumbnails.db")
    assert read_volume(folder).array.shape == files.HU.shape


def test_a_slice_that_is_a_link_to_nothing_is_counted(tmp_path: Path) -> None:
    folder = files.series(tmp_path / "ct", count=5)
    (folder / "IM0005.dcm").symlink_to(tmp_path / "gone")
    (folder / "notes.txt").symlink_to(tmp_path / "gone")
    assert "1 of 6 files cannot be read ('IM0005.dcm')" in refusal(lambda: read_volume(folder))


def test_many_files_that_cannot_be_read_are_told_by_three(tmp_path: Path) -> None:
    folder = files.series(tmp_path / "ct")
    for path in sorted(folder.iterdir())[1:]:
        path.write_bytes(path.read_bytes()[:-50])
    message = refusal(lambda: read_volume(folder))
    assert "5 of 6 files cannot be read ('IM0001.dcm', 'IM0002.dcm', 'IM0003.dcm', ...)" in message


@pytest.mark.parametrize("lost", [1, 40, 300])
@pytest.mark.parametrize("compressed", [False, True])
def test_frames_that_are_cut_off_are_noticed(tmp_path: Path, lost: int, compressed: bool) -> None:
    data = files.frames_file()
    if compressed:
        data.compress(RLELossless)
    path = files.save(data, tmp_path / "ct/a.dcm")
    path.write_bytes(path.read_bytes()[:-lost])
    assert "1 of 1 files cannot be read" in refusal(lambda: read_volume(tmp_path / "ct"))


# What is right


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_other_ways_of_writing_are_read(tmp_path: Path, syntax: str) -> None:
    folder = files.series(tmp_path / "ct", lambda _, data: setattr(data.file_meta, "TransferSyntaxUID", syntax))
    assert np.array_equal(read_volume(folder).array, files.HU)


def test_big_endian_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "ct").mkdir()
    for number in range(len(files.HU)):
        made, data = files.slice_file(number), Dataset()
        data.update(made)
        data.file_meta = made.file_meta
        data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        data.PixelData = np.frombuffer(made.PixelData, "<i2").astype(">i2").tobytes()
        data["PixelData"].VR = "OW"
        dcmwrite(tmp_path / f"ct/{number}.dcm", data, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(read_volume(tmp_path / "ct").array, files.HU)


def test_compressed_slices_have_their_values(tmp_path: Path) -> None:
    hu = np.random.default_rng(0).normal(0, 30, (3, 64, 60)).cumsum(axis=2).astype(np.int16)
    for number in range(3):
        data = files.slice_file(number, hu=hu)
        data.compress(RLELossless)
        files.save(data, tmp_path / f"ct/{number}.dcm")
    found = read_volume(tmp_path / "ct")
    assert np.array_equal(found.array, hu) and found.spacing == pytest.approx((0.8, 0.9, 2.5))


def test_files_without_preamble_and_ending_are_read(tmp_path: Path) -> None:
    folder = files.series(tmp_path / "ct")
    for path in list(folder.iterdir()):
        (folder / path.stem).write_bytes(path.read_bytes()[132:])
        path.unlink()
    assert np.array_equal(read_volume(folder).array, files.HU)


def test_other_objects_and_notes_beside_the_slices_are_passed_over(tmp_path: Path) -> None:
    folder = files.series(tmp_path / "ct", name="IM{:04}")
    report = files.slice_file(0, series="1.2.3.7")
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    for name in ("Rows", "Columns", "PixelData"):
        delattr(report, name)
    files.save(report, folder / "SR0001")
    (folder / "README").write_text("Exported by the archive.", encoding="utf-8")
    (folder / ".hidden").write_bytes(bytes(100))
    assert np.array_equal(read_volume(folder).array, files.HU)


@pytest.mark.parametrize("index", [False, True])
def test_a_series_a_level_down_is_found(tmp_path: Path, index: bool) -> None:
    """Also on a disk with an index."""
    files.series(tmp_path / "study/1/2")
    if index:
        (tmp_path / "study/DICOMDIR").write_bytes((tmp_path / "study/1/2/IM0000.dcm").read_bytes())
    assert np.array_equal(read_volume(tmp_path / "study").array, files.HU)
    files.series(tmp_path / "study/1/3")
    message = refusal(lambda: read_volume(tmp_path / "study"))
    assert "holds 2 folders with DICOM files; give one of them, e.g. '1/2'" in message.replace("\\", "/")


@pytest.mark.parametrize(("levels", "found"), [(3, True), (4, False)])
def test_a_series_is_looked_for_three_levels_down(tmp_path: Path, levels: int, found: bool) -> None:
    files.series(tmp_path.joinpath("study", *"1234"[:levels]), count=2)
    if found:
        assert read_volume(tmp_path / "study").array.shape == (2, 8, 9)
    else:
        assert "holds no DICOM series" in refusal(lambda: read_volume(tmp_path / "study"))


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
