"""BTCV in its own layout, as btcv and as synapse."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from Testing.training.datasets.miniature import (
    HEAD_FIRST,
    LPS,
    image,
    label,
    prepared,
    refused,
    sizes,
    write,
    write_pair,
)
from Training.datasets.btcv import find

TRAINING = Path("Abdomen", "RawData", "Training")


@pytest.fixture
def btcv(tmp_path: Path) -> Path:
    for number in (*range(1, 11), *range(21, 41)):
        folder = tmp_path / "download" / TRAINING
        write_pair(folder / "img" / f"img{number:04d}.nii.gz", folder / "label" / f"label{number:04d}.nii.gz",
                   range(1, 14), number, HEAD_FIRST if number == 5 else LPS)
    return tmp_path / "download"


def test_synapse_is_transunets_eighteen_and_twelve(btcv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = prepared("synapse", btcv)
    assert sizes(manifest) == {"test": 12, "train": 18}
    assert {case.id for case in manifest.of("test")} == {
        f"case{number:04d}" for number in (8, 22, 38, 36, 32, 2, 29, 3, 1, 4, 25, 35)}
    assert (manifest.labels.name, manifest.modality) == ("synapse", "CT")
    # TransUNet's renumbering; esophagus, veins and adrenal glands become background.
    assert manifest.label_map == {1: 1, 2: 2, 3: 3, 4: 4, 6: 5, 7: 6, 8: 7, 11: 8}
    assert manifest.cases[0].image == "../download/Abdomen/RawData/Training/img/img0001.nii.gz"
    assert "low=-125, high=275" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["Abdomen", "Abdomen/RawData", "Abdomen/RawData/Training"])
def test_any_folder_of_the_download_may_be_given(btcv: Path, given: str) -> None:
    assert len(find(btcv / given).cases) == 30


def test_btcv_is_twenty_four_and_six(btcv: Path) -> None:
    manifest = prepared("btcv", btcv)
    assert sizes(manifest) == {"test": 6, "train": 24}
    assert [case.id for case in manifest.of("test")] == [f"case{number:04d}" for number in range(35, 41)]
    assert manifest.label_map == {number: number for number in range(1, 14)}
    twelve = prepared("btcv", btcv, "--labels", "btcv12")  # MA-SAM: one organ of both adrenal glands
    assert twelve.label_map == {number: min(number, 12) for number in range(1, 14)}


def test_the_ten_per_cent_list_chooses_slices(btcv: Path, tmp_path: Path) -> None:
    names = tmp_path / "train_220.txt"
    names.write_text("case0005_slice000\ncase0005_slice003\ncase0006_slice001\n", encoding="utf-8")
    manifest = prepared("synapse", btcv, "--few-shot-list", str(names))
    assert sizes(manifest) == {"test": 12, "train": 2, "unlabelled": 16}
    turned, straight = manifest.of("train")
    assert turned.slices == (0, 3)  # the file starts at the head: 3, 0 from the feet
    assert straight.slices == (1,)
    names.write_text("case0005_slice002\n", encoding="utf-8")
    assert prepared("synapse", btcv, "--few-shot-list", str(names)).of("train")[0].slices == (1,)


@pytest.mark.parametrize(("line", "cause"), [
    ("case0005_slice004", "slice 4 of case 'case0005', which has 4 axial slices"),
    ("case0001_slice000", "case0001, which are no training cases"), ("case0005", "the line 'case0005'"),
    ("", "is empty"),
])
def test_refuses_a_list_of_something_else(btcv: Path, tmp_path: Path, line: str, cause: str) -> None:
    names = tmp_path / "list.txt"
    names.write_text(line, encoding="utf-8")
    assert cause in refused("synapse", btcv, "--few-shot-list", str(names))


def test_names_what_a_partial_download_lacks(btcv: Path) -> None:
    (btcv / TRAINING / "label" / "label0007.nii.gz").unlink()
    (btcv / TRAINING / "img" / "img0040.nii.gz").unlink()
    message = refused("synapse", btcv)
    for part in (str(btcv / TRAINING), "lacks 2 of the 60", "label/label0007.nii.gz, img/img0040.nii.gz", "--partial"):
        assert part in message
    assert sizes(prepared("synapse", btcv, "--partial")) == {"test": 12, "train": 16}


def test_says_what_it_looked_for_in_a_wrong_folder(tmp_path: Path) -> None:
    (tmp_path / "other" / "img").mkdir(parents=True)
    message = refused("btcv", tmp_path / "other")
    assert "holds no case of BTCV" in message and "img/img0001.nii.gz" in message
    assert "no folder" in refused("btcv", tmp_path / "nowhere")


def test_refuses_damaged_cases_by_name(btcv: Path) -> None:
    folder = btcv / TRAINING
    path = folder / "img" / "img0002.nii.gz"
    whole = path.read_bytes()
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:700]))
    assert "Case 'case0002': 'img0002.nii.gz' is incomplete" in refused("btcv", btcv)
    path.write_bytes(whole)
    volume = image(2)
    wrong = folder / "label" / "label0002.nii.gz"
    for content, cause in [
        (label((1, 14), volume), "the label 'label0002.nii.gz' holds the numbers [14]"),
        (label((1,), image(2, shape=(5, 10, 12))), "the label 'label0002.nii.gz' has (5, 10, 12) voxels but the image"),
        (label((), volume), "the label 'label0002.nii.gz' shows no organ"),
    ]:
        write(wrong, content)
        message = refused("btcv", btcv)
        assert f"Case 'case0002': {cause}" in message
    write(wrong, label((1,), volume))
    write(path, volume.with_array(volume.array * 0))
    assert "Case 'case0002': 'img0002.nii.gz' is empty" in refused("btcv", btcv)


def test_refuses_organs_that_nobody_has_drawn(btcv: Path) -> None:
    message = refused("btcv", btcv, "--labels", "amos15")
    assert "BTCV has no label for bladder, duodenum, prostate_or_uterus of" in message
    assert "no part 'mr'; choose from raw" in refused("btcv", btcv, "--part", "mr")
    assert "no few-shot cases" in refused("btcv", btcv, "--few-shot")
