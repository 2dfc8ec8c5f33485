"""Painted slices: the phantoms' anatomy in contrasts drawn anew, alone or with the slices beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.demo.phantom import STRUCTURES, Phantom, make_phantom
from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE
from SAMoraLib.labels import LABEL_SETS
from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.training.in_process import InProcess
from Training.data import painted, workers
from Training.data.augment import POLICIES
from Training.data.painted import PaintedSlices, phantom_structures
from Training.data.slices import IGNORED

ALONE = Preprocessing("CT", "hu_window", -160, 240, "body", 64)
BESIDE = Preprocessing("CT", "hu_window", -160, 240, "body", 64, neighbours=5.0)


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[np.ndarray]:
    return phantom_structures(range(10_000, 10_002), ALONE, tmp_path_factory.mktemp("cache"), workers=1)


def slices(phantoms: list[np.ndarray], preprocessing: Preprocessing = ALONE, ct: float = 0.0) -> PaintedSlices:
    return PaintedSlices(phantoms, preprocessing, ct, seed=3, policy=POLICIES["none"])


def test_the_label_is_the_anatomy_and_the_image_shows_it(phantoms: list[np.ndarray]) -> None:
    both = slices(phantoms)
    number = len(phantoms[0]) + 10  # of the second phantom
    image, label = both[0, number]
    assert image.shape == (1, 1, 64, 64) and label.shape == (1, 64, 64)
    assert np.array_equal(label[0].numpy(), phantoms[1][10])
    means = np.zeros((64, 64))
    for tissue in label.unique():
        means[label[0] == tissue] = image[0, 0][label[0] == tissue].mean()
    assert means.var() > 0.5 * image.numpy().var()  # the tissues explain most of the image


def test_the_contrast_is_new_in_every_epoch_and_the_same_again_for_a_resumed_run(phantoms: list[np.ndarray]) -> None:
    first, other, again = (slices(phantoms)[epoch, 12][0] for epoch in (0, 1, 0))
    assert np.array_equal(first, again) and not np.allclose(first, other, atol=0.05)


def test_neighbours_are_the_adjacent_slices_of_the_same_phantom(phantoms: list[np.ndarray]) -> None:
    # Two phantoms of one tissue each slice, so that a slice can be told from its mean.
    tissue = STRUCTURES.index("liver")
    maps = [np.stack([np.full((64, 64), tissue * (number == shown), np.uint8) for number in range(3)])
            for shown in (0, 2)]
    both = PaintedSlices(maps, BESIDE, 1.0, seed=3, policy=POLICIES["none"])
    bright = [both[0, index][0].mean(dim=(1, 2, 3)).numpy() > 0.2 for index in range(6)]
    assert np.array_equal(bright, [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]])
    assert both[0, 0][1].unique().tolist() == [tissue]


def test_a_ct_keeps_its_hounsfield_units(phantoms: list[np.ndarray]) -> None:
    """Fat is darker than liver in every CT, and often brighter in a random contrast."""
    fat, liver = STRUCTURES.index("subcutaneous_fat"), STRUCTURES.index("liver")
    number = int(np.argmax((phantoms[0] == liver).sum(axis=(1, 2))))

    def order(ct: float) -> list[bool]:
        items = [slices(phantoms, ct=ct)[epoch, number] for epoch in range(8)]
        return [bool(image[0][label == fat].mean() < image[0][label == liver].mean()) for image, label in items]

    assert all(order(1.0)) and not all(order(0.0))


def test_phantoms_are_made_once(tmp_path: Path) -> None:
    first = phantom_structures(range(10_000, 10_001), ALONE, tmp_path, workers=1)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = phantom_structures(range(10_000, 10_001), ALONE, tmp_path, workers=1)
    assert np.array_equal(first[0], again[0])
    assert kept == {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}


def test_a_phantoms_maps_stay_what_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Bases were trained with them: 1.8 mm in the plane, slices of 4 to 8 mm by the seed, some organs removed."""
    asked: list[object] = []

    def make(seed: int, spacing: tuple[float, ...], all_organs: bool) -> Phantom:
        asked.append((seed, spacing, all_organs))
        return make_phantom(seed, (8.0, 8.0, 40.0), all_organs=all_organs)

    monkeypatch.setattr(painted, "make_phantom", make)
    painted._write_structures((7, ALONE, tmp_path / "maps.npz"))
    thickness = 4.0 + 4.0 * np.random.default_rng(7).random()
    assert asked == [(7, (1.8, 1.8, pytest.approx(thickness)), False)]
    assert painted._read(tmp_path / "maps.npz", 64).shape[1:] == (64, 64)


def test_the_pixels_of_a_painted_ct_are_those_of_a_body_in_its_box(monkeypatch: pytest.MonkeyPatch,
                                                                   phantoms: list[np.ndarray]) -> None:
    """350 to 450 mm wide, on 64 pixels; slices 4 to 8 mm thick: how coarse the texture looks depends on both."""
    asked: list[tuple[float, ...]] = []
    paint = painted.paint_ct
    monkeypatch.setattr(painted, "paint_ct", lambda structures, spacing, rng: asked.append(spacing) or paint(
        structures, spacing, rng))
    both = slices(phantoms, ct=1.0)
    for epoch in range(12):
        _ = both[epoch, 12]
    x, y, z = np.array(asked).T
    assert np.array_equal(x, y) and 350 / 64 <= x.min() < 375 / 64 and 425 / 64 < x.max() <= 450 / 64
    assert 4 <= z.min() < 5 and 7 < z.max() <= 8


@pytest.mark.parametrize(("ct", "expected"), [(0.0, 0), (0.25, 75), (1.0, 300)])
def test_so_many_slices_are_painted_as_cts(monkeypatch: pytest.MonkeyPatch, ct: float, expected: int) -> None:
    painted_as_ct: list[bool] = []

    def paint(is_ct: bool) -> Callable[..., np.ndarray]:
        return lambda structures, *_: painted_as_ct.append(is_ct) or np.zeros(structures.shape, np.float32)

    monkeypatch.setattr(painted, "paint_ct", paint(True))
    monkeypatch.setattr(painted, "paint_random", paint(False))
    one = PaintedSlices([np.zeros((3, 8, 8), np.uint8)], ALONE, ct, seed=3, policy=POLICIES["none"])
    for epoch in range(100):
        for index in range(len(one)):
            _ = one[epoch, index]
    assert len(painted_as_ct) == 300 and abs(sum(painted_as_ct) - expected) <= 25 * (0 < ct < 1)


@pytest.mark.parametrize("content", [b"", b"half", np.random.default_rng(0).bytes(5000), "cut", "flipped", "other",
                                     "empty", "real numbers", "another name"])
def test_damaged_phantoms_are_made_anew(tmp_path: Path, content: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(painted, "make_phantom", lambda seed, spacing, all_organs: make_phantom(
        seed, (8.0, 8.0, 40.0), all_organs=all_organs))
    first = phantom_structures(range(7, 8), ALONE, tmp_path, workers=1)
    [path] = tmp_path.iterdir()
    whole = path.read_bytes()
    others = {"other": {"structures": first[0][:, 1:]}, "empty": {"structures": first[0][:0]},
              "real numbers": {"structures": first[0].astype(np.float32)}, "another name": {"maps": first[0]}}
    if content in others:
        np.savez(path, **others[content])
    else:
        middle = len(whole) // 2
        changed = {"cut": whole[:-50], "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1:]}
        path.write_bytes(changed[content] if isinstance(content, str) else content)
    assert np.array_equal(phantom_structures(range(7, 8), ALONE, tmp_path, workers=1)[0], first[0])


def test_untold_organs_are_painted_and_not_labelled(phantoms: list[np.ndarray]) -> None:
    told = PaintedSlices(phantoms, ALONE, 0.0, 3, POLICIES["none"])
    untold = PaintedSlices(phantoms, ALONE, 0.0, 3, POLICIES["none"], ["right_kidney", "liver"])
    for number in range(len(phantoms[0])):
        image, label = untold[0, number]
        plain_image, plain = told[0, number]
        hidden = np.isin(LABEL_OF_STRUCTURE[plain], [LABEL_SETS["synapse"].by_name(organ).value for organ in
                                                     ("right_kidney", "liver")])
        assert np.array_equal(image, plain_image)
        assert np.array_equal(label, np.where(hidden, IGNORED, plain))
