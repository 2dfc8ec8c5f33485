"""LA 2018 as the challenge and as UA-MT distribute it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from SAMoraLib.volume.io import read_volume
from Testing.training.datasets.miniature import image, label, prepared, refused, sizes, write
from Training.datasets import left_atrium
from Training.datasets.splits import few_shot_cases, published_split

SOME = (*few_shot_cases("la"), "1MHBF3G6DCPWHSKG7XCP", "UPT6DX9IQY9JAZ7HJKA7")  # the four, one more, one of the test


@pytest.fixture
def nrrd(tmp_path: Path) -> Path:
    for seed, case in enumerate(SOME):
        volume = image(seed)
        write(tmp_path / "Training Set" / case / "lgemri.nrrd", volume)
        write(tmp_path / "Training Set" / case / "laendo.nrrd", label((255,), volume))
    return tmp_path / "Training Set"


def test_eighty_and_twenty() -> None:
    split = list(published_split("la").values())
    assert (split.count("train"), split.count("test")) == (80, 20)


def test_the_atrium_is_number_255(nrrd: Path) -> None:
    manifest = prepared("la", nrrd, "--partial")
    assert sizes(manifest) == {"test": 1, "train": 5} and manifest.label_map == {255: 1}
    assert manifest.modality == "MR" and manifest.cases[0].slices is None


def test_the_four_scans_of_h_sam(nrrd: Path) -> None:
    manifest = prepared("la", nrrd, "--partial", "--few-shot")
    assert sizes(manifest) == {"test": 1, "train": 4, "unlabelled": 1}
    assert {case.id for case in manifest.of("train")} == {"06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU",
                                                           "1D7CUD1955YZPGK8XHJX", "1GU15S0GJ6PFNARO469W"}
    assert {case.slices for case in manifest.of("train")} == {(1,)}  # those with a label
    assert manifest.of("test")[0].slices is None and manifest.of("unlabelled")[0].label is None


def test_ua_mts_files(tmp_path: Path) -> None:
    root = tmp_path / "2018LA_Seg_Training Set"
    array = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)  # i, j, k
    drawn = np.zeros(array.shape, np.uint8)
    drawn[1, 2, 3] = 1
    for seed, case in enumerate(SOME):
        (root / case).mkdir(parents=True)
        with h5py.File(root / case / "mri_norm2.h5", "w") as file:
            file["image"], file["label"] = array + seed, drawn
    manifest = prepared("la", root, "--partial", "--few-shot")
    case = manifest.of("train")[0]
    assert case.slices == (3,) and case.shape == (5, 6, 7) and case.spacing == pytest.approx((0.625,) * 3)
    assert read_volume(manifest.label_path(case)).array[3, 2, 1] == 1
    found = read_volume(manifest.image_path(case))
    assert np.allclose(found.array.transpose(2, 1, 0), array)
    assert found.origin == (0, 0, 0) and found.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_names_the_missing(nrrd: Path) -> None:
    (nrrd / SOME[0] / "laendo.nrrd").unlink()
    message = refused("la", nrrd)
    assert "lacks 189 of the 200" in message and f"{SOME[0]}/laendo.nrrd" in message
    assert "06SR5RBREL16DQ6M8LWS, which are no training cases" in refused("la", nrrd, "--partial", "--few-shot")
    assert left_atrium.find_h5(nrrd).cases == ()
