"""Dice during training: by hand on two cases, and every slice with the answer that belongs to it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.model import Prediction
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from Testing.small import CT, small_model
from Testing.training.conftest import Cases
from Testing.training.small_cache import CLASSES, cache_of, random_cases
from Training.data.slices import build_cache
from Training.engine import validation
from Training.engine.validation import dice_validation, mean_case_dice, slab_by_slab, windowed
from Training.settings.optimisation import Optimisation


class Reader(nn.Module):
    """Reads each pixel's class from its brightness, n / 16, and keeps the shapes of what it was shown."""

    def __init__(self, depth: int = 1, image_size: int = 4) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(16.0))
        self.variant, self.image_size = SimpleNamespace(depth=depth), image_size
        self.seen: list[tuple[int, ...]] = []

    def forward(self, slabs: Tensor) -> Prediction:
        assert not self.training and torch.is_inference_mode_enabled()
        self.seen.append(tuple(slabs.shape))
        logits = -(self.scale * slabs[:, :1] - torch.arange(CLASSES).view(1, -1, 1, 1, 1)).square()
        return Prediction(logits, None, (slabs.shape[-2], slabs.shape[-1]))


class Constant(nn.Module):
    """Says class 1 of any slab of one slice, as a network that is no ``SegmentationModel``."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, slabs: Tensor) -> Prediction:
        assert slabs.shape[2] == 1
        logits = torch.zeros(len(slabs), 5, *slabs.shape[2:])
        logits[:, 1] = 1
        return Prediction(logits, None, (slabs.shape[-2], slabs.shape[-1]))


def test_dice_is_taken_over_each_cases_slices_and_averaged_over_its_organs(tmp_path: Path) -> None:
    cache = cache_of(tmp_path, a=np.array([[[1, 1], [0, 0]], [[1, 0], [0, 0]]]), b=np.array([[[2, 2], [2, 2]]]))
    found = [(0, torch.tensor([[1, 0], [0, 2]])), (1, torch.tensor([[1, 1], [0, 0]])),
             (2, torch.tensor([[2, 2], [2, 0]]))]
    # Case a: organ 1 agrees in 2 of 3 and 3 pixels, organ 2 is found where none is. Case b: organ 2 in 3 of 4 and 3;
    # organ 1 neither is there nor was found.
    assert mean_case_dice(iter(found), cache, 2) == pytest.approx((4 / 6 + 0 + 6 / 7) / 3)


def test_a_perfect_answer_has_a_dice_of_one_and_empty_ones_none(tmp_path: Path) -> None:
    cache = random_cases(tmp_path, a=(3, 4, 4), b=(2, 4, 4))
    right = [(index, torch.from_numpy(cache.label(index)).long()) for index in range(5)]
    assert mean_case_dice(iter(right), cache, CLASSES - 1) == 1
    nothing = [(index, torch.zeros_like(classes)) for index, classes in right]
    assert mean_case_dice(iter(nothing), cache, CLASSES - 1) == 0


def test_a_single_pixel_of_an_organ_counts_as_much_as_many(tmp_path: Path) -> None:
    label = np.full((1, 4, 4), 1)
    label[0, 0, 0] = 2
    cache = cache_of(tmp_path, a=label)
    found = torch.ones(4, 4, dtype=torch.int64)
    assert mean_case_dice(iter([(0, found)]), cache, 2) == pytest.approx((2 * 15 / 31 + 0) / 2)


@pytest.mark.parametrize("depth", [1, 3, 5])
def test_each_slice_gets_the_answer_of_the_middle_of_its_slab(tmp_path: Path, depth: int) -> None:
    cache = random_cases(tmp_path, a=(6, 4, 4), b=(5, 4, 4))
    model = Reader().train()
    found = dict(slab_by_slab(model, cache, depth, batch_size=4))
    assert list(found) == list(range(11))
    assert [shape[0] for shape in model.seen] == [4, 4, 3]
    assert all(shape[1:] == (1, depth, 4, 4) for shape in model.seen)
    assert all(np.array_equal(classes, cache.label(index)) for index, classes in found.items())


def test_a_slab_is_one_slice_if_nothing_else_is_said(tmp_path: Path) -> None:
    cache, model = random_cases(tmp_path, a=(3, 4, 4)), Reader()
    assert [index for index, _ in slab_by_slab(model, cache)] == [0, 1, 2]
    assert model.seen == [(3, 1, 1, 4, 4)]


def test_eight_slices_are_in_memory_at_once_if_nothing_else_is_said(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    cache, model, asked = random_cases(tmp_path, a=(17, 4, 4)), Reader(), []
    assert len(list(slab_by_slab(model, cache))) == 17
    assert [shape[0] for shape in model.seen] == [8, 8, 1]
    monkeypatch.setattr(validation, "sliding_window", lambda windows, *part: asked.append(windows.batch_size) or [])
    assert not list(windowed(model, cache)) and asked == [8]  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_windows_give_every_slice_of_every_case_its_own_answer(tmp_path: Path, depth: int) -> None:
    cache = random_cases(tmp_path, a=(3, 6, 9), b=(5, 4, 7), c=(1, 3, 4))
    model = Reader(depth).train()
    found = dict(windowed(model, cache, batch_size=2))  # type: ignore[arg-type]
    assert list(found) == list(range(9))
    assert all(np.array_equal(classes, cache.label(index)) for index, classes in found.items())
    assert {shape[-2:] for shape in model.seen} == {(4, 4)}


def test_a_run_that_never_validates_has_no_validation(cases: Cases, tmp_path: Path) -> None:
    cases.add("a")
    manifest = cases.manifest(tmp_path, train="a")  # and needs no case for it
    assert dice_validation(Constant(), manifest, CT, tmp_path / "cache", Optimisation()) is None


def test_the_validation_cases_are_measured_slice_by_slice(cases: Cases, tmp_path: Path) -> None:
    cases.add("a")
    cases.add("b", numbers=(1, 2))
    manifest = cases.manifest(tmp_path, train="a", validation="b")
    validate = dice_validation(Constant(), manifest, CT, tmp_path / "cache", Optimisation(validate_every=5))
    assert validate is not None
    cache = build_cache(manifest, manifest.of("validation"), CT, tmp_path / "cache")
    label = np.stack([cache.label(index) for index in range(len(cache))])
    ones = (label == 1).sum()
    assert ones > 0
    assert validate(nn.Identity()) == {"dice": pytest.approx((2 * ones / (ones + label.size) + 0) / 2)}


def test_a_model_on_a_grid_is_measured_with_windows(cases: Cases, tmp_path: Path) -> None:
    """The grid's slices are larger than what the model takes."""
    label = np.zeros((2, 34, 40), dtype=np.uint8)
    label[:, 10:20, 10:20] = 1
    image = Volume(np.where(label, 100, 60).astype(np.int16), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    cases.write("a", image, image.with_array(label))
    manifest = cases.manifest(tmp_path, validation="a")
    grid = Preprocessing("CT", "hu_window", -125, 275, "none", 32, spacing=1.0)
    model = small_model("samed", len(manifest.labels))
    validate = dice_validation(model, manifest, grid, tmp_path / "cache", Optimisation(validate_every=5))
    assert validate is not None
    cache = build_cache(manifest, manifest.of("validation"), grid, tmp_path / "cache")
    assert min(cache.label(0).shape) > 32
    [dice] = validate(nn.Identity()).values()
    assert dice == pytest.approx(mean_case_dice(windowed(model, cache), cache, len(manifest.labels)))
