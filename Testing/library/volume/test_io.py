"""Reading and writing: every format keeps the grid, and what cannot be read is refused with one sentence."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume.io import (
    READABLE,
    read_volume,
    slicer_fields,
    stored_bytes,
    terminology,
    write_segmentation,
    write_volume,
)
from Testing.folders import ROOT

OBLIQUE = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
GRIDS = {"straight": np.eye(3), "permuted": np.eye(3)[:, [2, 0, 1]] * [1, -1, -1], "oblique": OBLIQUE,
         "left-handed": OBLIQUE * [1, 1, -np.linalg.det(OBLIQUE)]}


def volume(direction: np.ndarray = OBLIQUE, dtype: type = np.int16) -> Volume:
    array = np.random.default_rng(0).integers(-1000, 2000, (3, 4, 5)).astype(dtype)
    return Volume(array, (0.7, 1.3, 5.0), (-101.5, 33.25, 870.0), tuple(direction.ravel()))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_voxels_and_grid_survive_a_round_trip(tmp_path: Path, grid: str, ending: str) -> None:
    source = volume(GRIDS[grid])
    write_volume(source, tmp_path / f"v{ending}")
    found = read_volume(tmp_path / f"v{ending}")
    assert np.array_equal(found.array, source.array)
    assert np.allclose(found.ijk_to_lps, source.ijk_to_lps, atol=1e-4)  # NIfTI headers are float32
    assert [path.name for path in tmp_path.iterdir()] == [f"v{ending}"]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_the_type_of_voxels_is_kept(tmp_path: Path, dtype: type) -> None:
    source = volume(dtype=dtype)
    write_volume(source, tmp_path / "v.nrrd")
    assert read_volume(tmp_path / "v.nrrd").array.dtype == dtype


def test_a_nifti_of_another_writer_has_the_same_world(tmp_path: Path) -> None:
    """nibabel counts in RAS; a voxel must lie at the same point, x and y negated."""
    affine = np.eye(4)
    affine[:3, :3] = OBLIQUE * (0.7, 1.3, 5.0)
    affine[:3, 3] = (1, 2, 3)
    data = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    nibabel.Nifti1Image(data, affine).to_filename(tmp_path / "n.nii.gz")
    found = read_volume(tmp_path / "n.nii.gz")
    assert found.array[2, 1, 4] == data[4, 1, 2]
    assert np.allclose((found.ijk_to_lps @ (4, 1, 2, 1))[:2], -(affine @ (4, 1, 2, 1))[:2], atol=1e-4)
    assert np.allclose((found.ijk_to_lps @ (4, 1, 2, 1))[2], (affine @ (4, 1, 2, 1))[2], atol=1e-4)


def test_four_dimensions_with_one_time_point(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.ones((5, 4, 3, 1), np.int16), np.eye(4)).to_filename(tmp_path / "single.nii.gz")
    assert read_volume(tmp_path / "single.nii.gz").array.shape == (3, 4, 5)


@pytest.mark.parametrize("size", [(5, 4, 3, 1), (5, 4, 3, 1, 1)])
def test_further_dimensions_of_one_are_left_out(tmp_path: Path, size: tuple[int, ...]) -> None:
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetPixel((4, 2, 1, *(0,) * (len(size) - 3)), 7)
    image.SetSpacing((2.0, 3.0, 5.0, *(1.0,) * (len(size) - 3)))
    sitk.WriteImage(image, str(tmp_path / "v.mha"))
    found = read_volume(tmp_path / "v.mha")
    assert found.array.shape == (3, 4, 5) and found.spacing == (2, 3, 5)
    assert np.argwhere(found.array).tolist() == [[1, 2, 4]] and found.array[1, 2, 4] == 7


@pytest.mark.parametrize("size", [(5, 4, 3, 2), (5, 4, 3, 1, 2), (5, 4, 1, 2)])
def test_further_dimensions_of_more_are_refused(tmp_path: Path, size: tuple[int, ...]) -> None:
    sitk.WriteImage(sitk.Image(size, sitk.sitkInt16), str(tmp_path / "v.mha"))
    with pytest.raises(ValueError, match=rf"has {len(size)} dimensions \({' x '.join(map(str, size))}\); give one 3D"):
        read_volume(tmp_path / "v.mha")


@pytest.mark.parametrize(("size", "kind", "expected"), [
    ((5, 4, 3), sitk.sitkInt16, 120), ((5, 4, 3), sitk.sitkFloat64, 480), ((5, 4), sitk.sitkUInt8, 20),
    ((5, 4, 3), sitk.sitkVectorUInt8, 120), ((5, 4, 3, 2), sitk.sitkInt32, 480)])
def test_what_voxels_take_is_known_from_the_header(tmp_path: Path, size: tuple[int, ...], kind: int, expected: int
                                                   ) -> None:
    image = sitk.Image(size, kind, 2) if kind == sitk.sitkVectorUInt8 else sitk.Image(size, kind)
    sitk.WriteImage(image, str(tmp_path / "v.mha"))
    assert stored_bytes(tmp_path / "v.mha") == expected


def test_what_a_series_takes_is_that_of_all_its_slices(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", range(5))
    assert stored_bytes(tmp_path / "ct") == 5 * 8 * 9 * 2


def test_what_cannot_be_read_takes_nothing(tmp_path: Path) -> None:
    assert stored_bytes(other(tmp_path / "v.nrrd")) == 0
    (tmp_path / "empty").mkdir()
    assert stored_bytes(tmp_path / "empty") == 0


# DICOM


def write_series(folder: Path, numbers: range = range(6), series: str = "1", tilt: float = 0.0,
                 modality: str = "CT") -> np.ndarray:
    """A CT series of the given slice numbers; the writer stores HU + 1024, as the rescale tags say."""
    folder.mkdir(exist_ok=True)
    hu = np.random.default_rng(0).integers(-1000, 1000, (20, 8, 9)).astype(np.int16)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for number in numbers:
        image = sitk.GetImageFromArray(hu[number])
        image.SetSpacing((0.8, 0.9))
        tags = {"0008|0060": modality, "0020|000e": f"1.2.3.{series}", "0020|000d": "1.2.3",
                "0008|0018": f"1.2.3.{series}.{number + 1}", "0020|0013": str(number),
                "0008|0008": "DERIVED\\SECONDARY",
                "0020|0032": f"-10\\{-20 + tilt * number}\\{30 + 2.5 * number}", "0020|0037": "1\\0\\0\\0\\1\\0",
                "0028|1052": "-1024", "0028|1053": "1", "0018|0050": "2.5"}
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{series}_{number:03d}.dcm"))
        writer.Execute(image)
    return hu


def test_a_dicom_series_comes_in_hu_in_order_of_position(tmp_path: Path) -> None:
    hu = write_series(tmp_path / "ct")
    found = read_volume(tmp_path / "ct")
    assert sitk.ReadImage(str(tmp_path / "ct/1_000.dcm")).GetMetaData("0028|1052").strip() == "-1024"
    assert np.array_equal(found.array, hu[:6])
    assert found.spacing == pytest.approx((0.8, 0.9, 2.5))
    assert found.origin == pytest.approx((-10, -20, 30))


def test_one_dicom_slice_is_a_volume(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", range(1))
    assert read_volume(tmp_path / "ct").array.shape == (1, 8, 9)


def test_several_series_in_a_folder_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "ct", series="2")
    with pytest.raises(ValueError, match="'ct' holds 2 DICOM series; give a folder with exactly one"):
        read_volume(tmp_path / "ct")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no DICOM series"):
        read_volume(tmp_path)


def test_a_missing_slice_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", range(6))
    (tmp_path / "ct/1_003.dcm").unlink()
    with pytest.raises(ValueError, match=r"2\.50 to 5\.00 mm apart, so some are missing"):
        read_volume(tmp_path / "ct")


def test_gantry_tilt_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", tilt=0.7)
    with pytest.raises(ValueError, match="not at right angles"):
        read_volume(tmp_path / "ct")


# Refusals


def sheared(path: Path) -> Path:
    header = ("NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 3 3 3\n"
              "space directions: (1,0,0) (0.3,1,0) (0,0,2)\nkinds: domain domain domain\nendian: little\n"
              "encoding: raw\nspace origin: (0,0,0)\n\n")
    path.write_bytes(header.encode() + np.zeros(27, np.int16).tobytes())
    return path


def sheared_nifti(path: Path) -> Path:
    affine = np.diag((1.0, 1, 2, 1))
    affine[0, 1] = 0.3
    image = nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), None)
    image.set_sform(affine, code=1)
    image.set_qform(None, code=0)
    image.to_filename(path)
    return path


def with_nan(path: Path) -> Path:
    source = volume(dtype=np.float32)
    source.array[1, 2, 3] = np.nan
    write_volume(source, path)
    return path


def colour(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True), str(path))
    return path


def moving(path: Path) -> Path:
    nibabel.Nifti1Image(np.zeros((5, 4, 3, 2), np.int16), np.eye(4)).to_filename(path)
    return path


def cut_short(path: Path) -> Path:
    write_volume(volume(), path)
    path.write_bytes(path.read_bytes()[:60])
    return path


def other(path: Path) -> Path:
    path.write_text("text", encoding="utf-8")
    return path


@pytest.mark.parametrize(("make", "name", "message"), [
    (sheared, "s.nrrd", "axes of 's.nrrd' are not at right angles"),
    (sheared_nifti, "s.nii.gz", "axes of 's.nii.gz' are not at right angles"),
    (with_nan, "n.nrrd", "has 1 voxels that are NaN or infinite"),
    (colour, "c.mha", "colour or vector image with 3 components"),
    (moving, "t.nii.gz", r"has 4 dimensions \(5 x 4 x 3 x 2\)"),
    (cut_short, "b.nrrd", "cannot be read"),
    (cut_short, "b.nii.gz", "cannot be read"),
    (other, "note.txt", "not of a known format"),
    (other, "note.nii.gz", "cannot be read"),
])
def test_what_cannot_be_segmented_is_refused_in_one_sentence(tmp_path: Path, make, name: str, message: str) -> None:
    path = make(tmp_path / name)
    with pytest.raises(ValueError, match=message) as refusal:
        read_volume(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in folders")
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", ["v.nii.gz", "v.nii", "v.nrrd", "v.mha"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"'{name}' is no file"):
        read_volume(tmp_path / name)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no FIFO in folders")
@pytest.mark.timeout(20)
@pytest.mark.parametrize(("name", "header"), [
    ("v.nhdr", "NRRD0004\ntype: short\ndimension: 3\nsizes: 5 4 3\nspacings: 1 2 3\nencoding: raw\ndata file: v.raw\n"),
    ("v.mhd", "NDims = 3\nDimSize = 5 4 3\nElementSpacing = 1 2 3\nElementType = MET_SHORT\nElementDataFile = v.raw")])
@pytest.mark.parametrize("pipe", [False, True])
def test_voxels_in_no_file_are_refused(tmp_path: Path, name: str, header: str, pipe: bool) -> None:
    (tmp_path / name).write_text(header, encoding="utf-8")
    if pipe:
        os.mkfifo(tmp_path / "v.raw")
    with pytest.raises(ValueError, match=r"The voxels of .* lie in 'v\.raw', which is no file beside it"):
        read_volume(tmp_path / name)


def test_voxels_that_are_no_numbers_are_counted(tmp_path: Path) -> None:
    values = np.array([[[np.nan, np.inf, -np.inf, 1.0]]])
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "v.mha"))
    with pytest.raises(ValueError, match="has 3 voxels that are NaN or infinite"):
        read_volume(tmp_path / "v.mha")


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Image(np.ones((5, 4, 3), np.complex64), np.eye(4)).to_filename(tmp_path / "v.nii")
    with pytest.raises(ValueError, match="holds values of type complex64; give integers or real numbers"):
        read_volume(tmp_path / "v.nii")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no volume"):
        read_volume(tmp_path / "nothing.nii.gz")


def test_rounding_in_a_header_is_no_shear(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = np.float32(OBLIQUE * (0.7, 1.3, 5.0))
    nibabel.Nifti1Image(np.zeros((5, 4, 3), np.int16), affine).to_filename(tmp_path / "v.nii.gz")
    canonical, _ = to_canonical(read_volume(tmp_path / "v.nii.gz"))
    assert canonical.array.shape


# Writing


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.nii.gz"
    write_volume(volume(), path)
    before = path.read_bytes()

    def torn(image: object, name: str, **_: object) -> None:
        Path(name).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(sitk, "WriteImage", torn)
    with pytest.raises(KeyboardInterrupt):
        write_volume(volume(), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["v.nii.gz"]


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.9, "all but one"])
@pytest.mark.parametrize("compressed", [False, True])
def test_what_a_full_disk_cuts_short_never_takes_its_name(tmp_path: Path, ending: str, kept: float | str,
                                                          compressed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the writer says of it."""
    write = sitk.WriteImage

    def cut(image: sitk.Image, name: str, **options: object) -> None:
        write(image, name, **options)
        data = Path(name).read_bytes()
        Path(name).write_bytes(data[:-1] if isinstance(kept, str) else data[:int(len(data) * kept)])

    monkeypatch.setattr(sitk, "WriteImage", cut)
    labels = volume(dtype=np.uint8).with_array(np.zeros((3, 4, 5), np.uint8))  # what is missing would be 0, too
    with pytest.raises(OSError, match="could not be written; check that the disk has room"):
        write_volume(labels, tmp_path / f"v{ending}", compressed=compressed)
    assert not list(tmp_path.iterdir())


def test_a_killed_writer_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    code = ("import numpy as np, sys; from SAMoraLib.volume import Volume;"
            "from SAMoraLib.volume.io import write_volume;"
            "a = np.random.default_rng(0).integers(0, 30000, (300, 400, 400)).astype(np.int16);"
            "print('go', flush=True);"
            "write_volume(Volume(a, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), sys.argv[1])")
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "v.nii.gz")], stdout=subprocess.PIPE,
                               env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(200):
        if any(tmp_path.iterdir()):
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = list(tmp_path.iterdir())
    assert left and all(path.name.startswith(".") for path in left), left


def test_an_unknown_format_is_refused_before_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'v.png' is not of a format that can be written; choose from \.nii\.gz"):
        write_volume(volume(), tmp_path / "v.png")
    assert not list(tmp_path.iterdir())


def test_a_segmentation_carries_names_colours_and_codes(tmp_path: Path) -> None:
    labels = get_label_set("synapse")
    source = volume()
    source = source.with_array((source.array % 9).astype(np.uint8))
    write_segmentation(source, labels, tmp_path / "s.seg.nrrd")
    assert np.array_equal(read_volume(tmp_path / "s.seg.nrrd").array, source.array)
    image = sitk.ReadImage(str(tmp_path / "s.seg.nrrd"))
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert fields["Segment2_ID"] == "left_kidney" and fields["Segment2_LabelValue"] == "3"
    assert fields["Segment2_Layer"] == "0" and fields["Segment2_Extent"] == "0 4 0 3 0 2"
    assert "SCT^64033007^Kidney~SCT^7771000^Left" in fields["Segment2_Tags"]
    colour = [float(channel) for channel in fields["Segment4_Color"].split()]
    assert colour == pytest.approx([221 / 255, 130 / 255, 101 / 255], abs=1e-5)
    assert sum(key.endswith("_ID") for key in fields) == 8


def test_a_segment_spans_the_whole_grid_in_its_own_colour() -> None:
    """A label of (255, 0, 51) of eight bits is (1, 0, 0.2) for Slicer."""
    labels = get_label_set("synapse")
    fields = slicer_fields(np.zeros((2, 3, 4), np.uint8), labels)
    assert {fields[f"Segment{number}_Extent"] for number in range(8)} == {"0 3 0 2 0 1"}
    for number, label in enumerate(labels):
        assert fields[f"Segment{number}_ID"] == label.name and fields[f"Segment{number}_Name"] == label.title
        colour = [float(channel) for channel in fields[f"Segment{number}_Color"].split()]
        assert [round(255 * channel) for channel in colour] == list(label.rgb)
        assert all(0 <= channel <= 1 for channel in colour)


def test_only_organs_with_a_side_have_a_modifier() -> None:
    labels = get_label_set("synapse")
    kidney, liver = (terminology(labels.by_name(name)).split("~") for name in ("right_kidney", "liver"))
    assert kidney[3].startswith("SCT^") and kidney[3].endswith("^Right")
    assert liver[3] == "^^" and liver[2].endswith("^Liver") and liver[1].startswith("SCT^")


def test_a_compressed_file_is_compressed(tmp_path: Path) -> None:
    write_volume(volume().with_array(np.zeros((3, 4, 5), np.uint8)), tmp_path / "v.nii.gz")
    assert len(gzip.decompress((tmp_path / "v.nii.gz").read_bytes())) == 352 + 60


def test_every_readable_ending_is_a_dot_and_lower_case() -> None:
    assert all(ending.startswith(".") and ending == ending.lower() for ending in READABLE)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size exist on POSIX only")
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_full_disk_leaves_no_half_file(tmp_path: Path, ending: str) -> None:
    """ITK does not notice it for NIfTI."""
    code = ("import resource, signal, sys, numpy as np; from SAMoraLib.volume import Volume;"
            "from SAMoraLib.volume.io import write_volume; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
            "a = np.random.default_rng(0).integers(0, 30000, (9, 64, 64)).astype(np.int16);"
            "write_volume(Volume(a, (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), sys.argv[1])")
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"v{ending}")], capture_output=True, text=True,
                             env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert "OSError" in process.stderr and "check that the disk has room" in process.stderr
    assert not list(tmp_path.iterdir())
