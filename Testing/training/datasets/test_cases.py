"""What is written down of a case, and what is refused with the case's name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.system.files import file_sha256
from SAMoraLib.volume import Volume
from Testing.refusals import refusal
from Testing.training.datasets.miniature import HEAD_FIRST, LPS, image, label, write
from Training.datasets.cases import Checked, check_grid, read_case, voxels_sha256

SAGITTAL = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # the third axis runs from right to left
ORGANS = {1: 1, 3: 2}


def read(folder: Path, picture: Volume, drawn: Volume | None, split: str = "train", **more: Any) -> Checked:
    """A case of files in a folder beside the manifest's."""
    files = folder / "data" / "ct.nii.gz", folder / "data" / "organs.nii.gz" if drawn is not None else None
    write(files[0], picture)
    if files[1] and drawn is not None:
        write(files[1], drawn)
    return read_case("a", files, split, folder / "out", ORGANS, **more)


def refused(folder: Path, picture: Volume, drawn: Volume | None, **more: Any) -> str:
    said = refusal(lambda: read(folder, picture, drawn, **more))
    assert said.startswith("Case 'a': ")
    return said


def test_the_record_of_a_case(tmp_path: Path) -> None:
    volume = image(0)
    drawn = label((3, 2, 3), volume)
    drawn.array[3, 0, 0] = 1
    found = read(tmp_path, volume, drawn)
    case = found.case
    assert (case.id, case.split, case.slices) == ("a", "train", None)
    assert (case.image, case.label) == ("../data/ct.nii.gz", "../data/organs.nii.gz")
    assert case.image_sha256 == file_sha256(tmp_path / "data" / "ct.nii.gz")
    assert case.label_sha256 == file_sha256(tmp_path / "data" / "organs.nii.gz")
    assert case.voxels_sha256 == voxels_sha256(volume)
    assert case.shape == (4, 10, 12) and case.spacing == pytest.approx((0.8, 0.8, 3.0))
    assert found.numbers == {1, 2, 3} and found.labelled == (1, 3) and found.from_feet == (0, 1, 2, 3)


def test_slices_are_counted_from_the_feet(tmp_path: Path) -> None:
    volume = image(0, HEAD_FIRST)
    found = read(tmp_path, volume, label((1,), volume))
    assert found.labelled == (2,) and found.from_feet == (3, 2, 1, 0)


def test_an_organ_that_nobody_asks_for_labels_no_slice(tmp_path: Path) -> None:
    volume = image(0)
    found = read(tmp_path, volume, label((2,), volume))
    assert found.numbers == {2} and found.labelled == ()


def test_the_third_axis_of_a_sagittal_file_is_not_from_feet_to_head(tmp_path: Path) -> None:
    volume = image(0, SAGITTAL)
    found = read(tmp_path, volume, label((1, 1, 1), volume))
    assert found.from_feet == () and found.labelled == (0, 1, 2)


def test_only_the_axis_from_feet_to_head_turns_the_slices(tmp_path: Path) -> None:
    volume = image(0, (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0))
    assert read(tmp_path, volume, None, "unlabelled").from_feet == (0, 1, 2, 3)


def test_the_label_of_an_unlabelled_case_is_not_opened(tmp_path: Path) -> None:
    volume = image(0)
    write(tmp_path / "ct.nii.gz", volume)
    found = read_case("a", (tmp_path / "ct.nii.gz", tmp_path / "none.nii.gz"), "unlabelled", tmp_path, ORGANS)
    assert (found.case.label, found.case.label_sha256) == (None, None)
    assert (found.numbers, found.labelled, found.from_feet) == (frozenset(), (), (0, 1, 2, 3))


def test_an_empty_image_is_refused_with_its_value(tmp_path: Path) -> None:
    volume = image(0)
    empty = volume.with_array(np.full_like(volume.array, -7))
    assert "'ct.nii.gz' is empty, every voxel is -7; copy or" in refused(tmp_path, empty, None, split="unlabelled")


@pytest.mark.parametrize(("change", "message"), [
    (lambda v: replace(v, array=v.array[1:]), "has (3, 10, 12) voxels but the image (4, 10, 12); resample the label"),
    (lambda v: replace(v, spacing=(0.8, 0.8, 2.9)), "the spacing of the label 'organs.nii.gz' is"),
    (lambda v: replace(v, origin=(1.0, 2.0, 4.0)), "the origin of the label 'organs.nii.gz' is"),
    (lambda v: replace(v, direction=HEAD_FIRST), "the direction of the label 'organs.nii.gz' is"),
    (lambda v: v.with_array(v.array * np.float32(0.5)), "holds values such as 0 and 1.5 that are no label numbers"),
    (lambda v: v.with_array(v.array.astype(np.int16) - (v.array == 1) * np.int16(2)), "such as -1 and 3 that are no"),
])
def test_refuses_a_label_that_does_not_fit(tmp_path: Path, change: Callable[[Volume], Volume], message: str) -> None:
    volume = image(0)
    assert message in refused(tmp_path, volume, change(label((1, 3), volume)))


def test_an_empty_label_is_a_label(tmp_path: Path) -> None:
    volume = image(0)
    found = read(tmp_path, volume, label((), volume), known=())
    assert (found.case.label, found.numbers, found.labelled) == ("../data/organs.nii.gz", frozenset(), ())


@pytest.mark.parametrize("known", [(3, 1), (), None])
def test_numbers_that_a_data_set_does_not_have(tmp_path: Path, known: tuple[int, ...] | None) -> None:
    volume = image(0)
    drawn = label((1, 5, 3, 4), volume)
    if known is None:
        assert read(tmp_path, volume, drawn, known=known).numbers == {1, 3, 4, 5}
    else:
        unknown, those = ([4, 5], [1, 3]) if known else ([1, 3, 4, 5], [])
        said = refused(tmp_path, volume, drawn, known=known)
        assert f"holds the numbers {unknown}, but those of this data set are {those}; download" in said


@pytest.mark.parametrize(("quantity", "near", "far"), [
    ("spacing", (0.8009, 0.8, 3.0), (0.8011, 0.8, 3.0)), ("origin", (1.0, 2.0, 3.049), (1.0, 2.0, 3.051)),
    ("origin", (1.0, 1.951, 3.0), (1.0, 1.949, 3.0)),
    ("direction", (*LPS[:7], 0.0009, 1.0), (*LPS[:7], 0.0011, 1.0)),
])
def test_grids_that_differ_by_rounding_alone_are_one(quantity: str, near: tuple[float, ...], far: tuple[float, ...],
                                                     ) -> None:
    volume = image(0)
    check_grid("label.nii", replace(volume, **{quantity: near}), volume)
    said = refusal(lambda: check_grid("label.nii", replace(volume, **{quantity: far}), volume))
    assert said == (f"the {quantity} of the label 'label.nii' is {far} but that of the image "
                    f"{getattr(volume, quantity)}; resample the label to the image's grid.")


def test_large_coordinates_allow_no_more() -> None:
    volume = replace(image(0), origin=(-2000.0, 0.0, 0.0))
    assert "the origin" in refusal(lambda: check_grid("l", replace(volume, origin=(-2000.1, 0.0, 0.0)), volume))


def test_a_copy_in_another_type_or_order_has_the_same_voxels() -> None:
    volume = image(0)
    copies = [volume.with_array(volume.array.astype(np.float64)),
              replace(volume, array=volume.array[::-1, :, ::-1], direction=(-1.0, *LPS[1:8], -1.0)),
              replace(volume, array=volume.array.transpose(2, 0, 1), direction=(0.0, 0, 1, 1, 0, 0, 0, 1, 0))]
    assert {voxels_sha256(copy) for copy in copies} == {voxels_sha256(volume)}
    reshaped = replace(volume, array=volume.array.reshape(4, 12, 10))
    assert len({voxels_sha256(other) for other in (volume, image(1), reshaped)}) == 3


def test_a_manifest_on_another_drive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "ct.nii.gz", image(0))

    def relpath(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", relpath)
    said = refusal(lambda: read_case("a", (tmp_path / "ct.nii.gz", None), "unlabelled", tmp_path, ORGANS))
    assert f"is on another drive than '{tmp_path}'; put the manifest" in said
