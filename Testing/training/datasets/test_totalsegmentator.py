"""TotalSegmentator's masks become one label volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.volume.io import read_volume
from Testing.training.datasets.miniature import image, prepared, refused, sizes, write
from Training.datasets import totalsegmentator
from Training.datasets.totalsegmentator import MASKS

META = "image_id;age;gender;institute;study_type;split\n"


@pytest.fixture
def total(tmp_path: Path) -> Path:
    """An abdomen, a chest in which nothing is drawn that is asked for, and one case more for each other split."""
    root = tmp_path / "Totalsegmentator_dataset_v201"
    rows = {"s0000": "train", "s0001": "train", "s0002": "val", "s0003": "test"}
    for seed, case in enumerate(rows):
        volume = image(seed)
        write(root / case / "ct.nii.gz", volume)
        for number, name in enumerate((*MASKS, "femur_left")):
            mask = np.zeros(volume.array.shape, np.uint8)
            if case != "s0001":
                mask[1, number % 10, number // 10] = 1
            write(root / case / "segmentations" / f"{name}.nii.gz", volume.with_array(mask))
    (root / "meta.csv").write_text(META + "".join(f"{case};60;m;A;ct;{split}\n" for case, split in rows.items()),
                                   encoding="utf-8-sig")
    return root


def test_one_label_volume_of_all_masks(total: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = prepared("totalsegmentator", total)
    assert sizes(manifest) == {"test": 1, "train": 1, "validation": 1}
    assert "1 left out" in capsys.readouterr().out  # the chest
    case = manifest.cases[0]
    assert case.image == "../Totalsegmentator_dataset_v201/s0000/ct.nii.gz"
    assert case.label == "volumes/s0000_label.nii.gz"
    label = read_volume(manifest.label_path(case)).array
    assert [int(label[1, number % 10, number // 10]) for number in range(15)] == list(range(1, 16))
    assert int((label > 0).sum()) == 15  # the femur is not among the organs
    assert manifest.labels.name == "btcv13" and manifest.label_map == {number: number for number in range(1, 14)}


def test_other_label_sets_share_the_converted_volumes(total: Path) -> None:
    prepared("totalsegmentator", total)
    assert prepared("totalsegmentator", total, "--labels", "synapse").label_map == {
        1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 11: 8}


def test_names_the_missing(total: Path) -> None:
    (total / "s0002" / "segmentations" / "liver.nii.gz").unlink()
    message = refused("totalsegmentator", total)
    assert "lacks 1 of the 64" in message and "s0002/segmentations/liver.nii.gz" in message
    assert sizes(prepared("totalsegmentator", total, "--partial")) == {"test": 1, "train": 1}
    (total / "meta.csv").write_text("image_id,split\ns0000,train\n", encoding="utf-8")
    assert "meta.csv' lacks the column" in refused("totalsegmentator", total)
    (total / "meta.csv").unlink()
    assert "meta.csv', which lists the cases" in refused("totalsegmentator", total)


def test_refuses_a_mask_on_another_grid(total: Path) -> None:
    write(total / "s0000" / "segmentations" / "liver.nii.gz", image(0, shape=(5, 10, 12)))
    assert "the label 'liver.nii.gz' has (5, 10, 12) voxels" in refused("totalsegmentator", total)


@pytest.mark.parametrize(("content", "cause"), [
    (b"\xff\xfe\x00", "meta.csv' lacks the column"), (b"", "holds no case"),
    (b"image_id;split\n\"" + b"a" * 200_000, "lacks the column"),
    (b"image_id;split\n../../evil;train\n", "'../../evil', which is no name or stands twice"),
    (b"image_id;split\n;train\n", "which is no name"),
    (b"image_id;split\ns0000;train\ns0000;test\n", "or stands twice"),
    (b"image_id;split\ns0000;dev\n", "'dev'"), (b"image_id;split\ns0000\n", "None"),
    (b"image_id;split\n/etc;train\n", "which is no name"),
])
def test_a_list_that_is_none_is_one_sentence(total: Path, content: bytes, cause: str) -> None:
    (total / "meta.csv").write_bytes(content)
    assert cause in refused("totalsegmentator", total)


def test_a_list_may_be_as_long_as_is_said(total: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    length = (total / "meta.csv").stat().st_size
    monkeypatch.setattr(totalsegmentator, "LIST_BYTES", length)
    assert len(totalsegmentator.find(total).cases) == 4
    monkeypatch.setattr(totalsegmentator, "LIST_BYTES", length - 1)
    assert f"is longer than {length - 1} bytes; download" in refused("totalsegmentator", total)


def test_where_two_masks_overlap_the_later_organ_stays(total: Path) -> None:
    masks, volume = list(MASKS), read_volume(total / "s0000/ct.nii.gz")
    both = np.zeros(volume.array.shape, np.uint8)
    both[2, 7, 3] = 200
    for name in (masks[4], masks[9]):
        write(total / f"s0000/segmentations/{name}.nii.gz", volume.with_array(both))
    manifest = prepared("totalsegmentator", total)
    label = read_volume(manifest.label_path(manifest.cases[0])).array
    assert label[2, 7, 3] == 10 and not np.isin(label, 5).any() and (label == 10).sum() == 1
