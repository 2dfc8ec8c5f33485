"""What is not interpolated is background; the rest is torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.inference.argmax import argmax_resized
from Testing.closeness import assert_close, assert_same_labels


def nothing(logits: Tensor, rows: slice, columns: slice) -> None:
    pass


def whole(logits: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    fine = F.interpolate(logits[None], shape, mode="bilinear", align_corners=False)[0]
    return fine.argmax(dim=0), fine.softmax(dim=0).amax(dim=0)


@pytest.mark.parametrize("shape", [(31, 45), (10, 12), (9, 7), (1, 50), (97, 3)])  # finer, the same, coarser
@pytest.mark.parametrize("background", [-9.0, 0.0, 1.5, 2.5])  # none to nearly all
def test_it_is_the_interpolation_of_all(shape: tuple[int, int], background: float) -> None:
    for seed in range(20):
        logits = torch.randn(5, 10, 12, generator=torch.Generator().manual_seed(seed))
        logits[0] += background
        expected, probability = whole(logits, shape)
        classes, probabilities = argmax_resized(logits, shape, nothing)
        assert classes.dtype == torch.uint8 and classes.shape == shape
        assert_same_labels(classes, expected)
        assert_close(probabilities[expected > 0], probability[expected > 0])


@pytest.mark.parametrize("place", [(0, 0), (0, 11), (9, 0), (9, 11), (4, 6)])
def test_an_organ_of_one_place_is_found_wherever_it_lies(place: tuple[int, int]) -> None:
    logits = torch.zeros(3, 10, 12)
    logits[0], logits[2, place[0], place[1]] = 1, 9
    classes, _ = argmax_resized(logits, (40, 48), nothing)
    assert torch.equal(classes.long(), whole(logits, (40, 48))[0]) and (classes == 2).sum() >= 16


@pytest.mark.parametrize(("place", "rows", "columns"), [
    ((4, 6), slice(7, 11), slice(17, 22)), ((0, 0), slice(0, 3), slice(0, 4)), ((9, 11), slice(17, 20), slice(32, 36)),
    ((0, 11), slice(0, 3), slice(32, 36))])
def test_only_pixels_beside_an_organ_are_interpolated(place: tuple[int, int], rows: slice, columns: slice) -> None:
    """Twice as many rows, and three times as many columns, whose every third lies on a place itself."""
    looked_at: list[tuple[slice, slice]] = []
    logits = torch.zeros(3, 10, 12)
    logits[0], logits[2, place[0], place[1]] = 1, 9
    argmax_resized(logits, (20, 36), lambda fine, *at: looked_at.append(at))
    assert looked_at == [(rows, columns)]


def test_background_alone_is_not_looked_at() -> None:
    def refuse(logits: Tensor, rows: slice, columns: slice) -> None:
        raise AssertionError

    logits = torch.zeros(3, 10, 12)
    classes, probabilities = argmax_resized(logits, (40, 48), refuse)
    assert not classes.any() and not probabilities.any()


def test_what_is_forbidden_is_told_in_the_pixels_of_the_whole() -> None:
    def left_half(logits: Tensor, rows: slice, columns: slice) -> None:
        logits[1, :, torch.arange(48)[columns] >= 24] = -1e9

    logits = torch.zeros(2, 10, 12)
    logits[1, 2:8, 3:10] = 5
    classes, _ = argmax_resized(logits, (40, 48), left_half)
    free = whole(logits, (40, 48))[0]
    assert torch.equal(classes[:, :24].long(), free[:, :24]) and not classes[:, 24:].any()
