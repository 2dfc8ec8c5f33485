"""Sliding windows: MONAI's as oracle, bounded memory, exact regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from SAMoraLib.inference import sliding_window as module
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.inference.sliding_window import Windows, bell, sliding_window, starts
from SAMoraLib.model import SegmentationModel
from SAMoraLib.volume import Region, Volume
from Testing.closeness import assert_close, assert_same_labels
from Testing.small import CT, small_card, small_model

monai = pytest.importorskip("monai.inferers.utils")
compute_importance_map = pytest.importorskip("monai.data.utils").compute_importance_map


def tp_mamba(depth: int = 8) -> SegmentationModel:
    model = small_model("tp_mamba")
    model.variant = replace(model.variant, depth=depth)
    return model


def windows_of(image: Tensor, model: SegmentationModel, count: int | None = None, batch_size: int = 3) -> Windows:
    depth, height, width = image.shape
    return Windows(model, lambda start, stop: image[start:stop, None], (depth, height, width), count or depth,
                   batch_size)


def together(windows: Windows, begin: int, end: int) -> Tensor:
    """(n, K, h, w), with the parts' places checked."""
    parts = []
    with torch.inference_mode():
        for part, logits in sliding_window(windows, begin, end):
            assert part == slice(begin, begin + len(logits)) and len(logits) <= windows.batch_size
            begin = part.stop
            parts.append(logits)
    assert begin == end
    return torch.cat(parts)


def phantom(spacing: tuple[float, float, float] = (2.0, 2.5, 6.0), slices: int = 9) -> Volume:
    rng = np.random.default_rng(0)
    array = np.full((slices, 40, 48), -1000, np.int16)
    array[:, 4:36, 4:44] = rng.integers(-100, 250, (slices, 32, 40))
    return Volume(array, spacing, (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def predictor(spacing: float = 3.0, depth: int = 8) -> Predictor:
    model = tp_mamba(depth)
    return Predictor(model, replace(small_card(model.variant), preprocessing=replace(CT, spacing=spacing)))


@pytest.mark.parametrize("shape", [(20, 32, 32), (13, 40, 70), (8, 33, 32)])
def test_monais_windows_give_the_same(shape: tuple[int, int, int]) -> None:
    """With our weights. MONAI's are the same but in the corners, which it raises to a thousandth of the middle."""
    torch.manual_seed(0)
    model, image = tp_mamba(), torch.rand(shape)

    down, across = bell(8), bell(32)
    weights = down[:, None, None] * across[:, None] * across
    middle = compute_importance_map((8, 32, 32), "gaussian", module.SIGMA)
    high = middle > 0.1
    assert_close(weights[high], middle[high])
    with torch.no_grad():
        expected = monai.sliding_window_inference(image[None, None], (8, 32, 32), 1, lambda part: model(part).logits,
                                                  overlap=module.OVERLAP, roi_weight_map=weights)
    found = together(windows_of(image, model), 0, shape[0])
    assert_close(found, expected[0].transpose(0, 1))


def test_windows_cover_every_axis() -> None:
    for length in range(1, 60):
        covered = np.zeros(max(length, 8), int)
        for start in starts(length, 8):
            covered[start:start + 8] += 1
        assert covered.min() >= 1 and starts(length, 8)[-1] == max(0, length - 8)
        assert len(starts(length, 8)) == len(set(starts(length, 8)))


@pytest.mark.parametrize(("length", "window", "expected"), [
    (4, 1, [0, 1, 2, 3]), (5, 2, [0, 1, 2, 3]), (5, 3, [0, 2]), (9, 4, [0, 2, 4, 5]), (4, 4, [0]), (3, 4, [0]),
    (20, 8, [0, 4, 8, 12])])
def test_windows_overlap_by_half(length: int, window: int, expected: list[int]) -> None:
    assert starts(length, window) == expected


@pytest.mark.parametrize(("begin", "end", "layers"), [
    (8, 12, [4, 8]), (8, 13, [4, 8, 12]), (7, 8, [0, 4]), (0, 1, [0]), (39, 40, [32]), (35, 36, [28, 32])])
def test_only_layers_that_hold_a_wanted_slice_are_computed(begin: int, end: int, layers: list[int],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    monkeypatch.setattr(module, "_layer", lambda windows, start: computed.append(start) or torch.ones(8, 2, 3, 4))
    found = together(windows_of(torch.rand(40, 3, 4), tp_mamba()), begin, end)
    assert computed == layers
    assert_close(found, torch.ones(end - begin, 2, 3, 4))


def test_a_small_volume_is_one_window() -> None:
    torch.manual_seed(0)
    model, image = tp_mamba(), torch.rand(5, 20, 24)
    padded = torch.zeros(1, 1, 5, 32, 32)
    padded[..., :20, :24] = image
    with torch.inference_mode():
        expected = model(padded).logits[0].transpose(0, 1)[..., :20, :24]
    assert_close(together(windows_of(image, model), 0, 5), expected)


def test_slices_are_enlarged_to_one_window_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    real, padded = module.F.pad, []

    def noted(images: Tensor, by: tuple[int, ...], **how: object) -> Tensor:
        padded.append(tuple(real(images, by, **how).shape))
        return real(images, by, **how)

    monkeypatch.setattr(module.F, "pad", noted)
    with torch.inference_mode():
        for height, width in ((33, 20), (20, 33), (32, 32)):
            module._layer(windows_of(torch.rand(8, height, width), tp_mamba()), 0)
            assert padded[0] == (8, 1, max(height, 32), max(width, 32))
            padded.clear()


@pytest.mark.parametrize("count", [30, 20, 7, 1])
def test_slices_of_the_volume_lie_between_those_of_the_grid(count: int) -> None:
    torch.manual_seed(0)
    model, image = tp_mamba(), torch.rand(20, 32, 32)
    grid = together(windows_of(image, model), 0, 20)
    expected = torch.nn.functional.interpolate(grid.permute(1, 2, 3, 0).flatten(1, 2), count, mode="linear")
    expected = expected.unflatten(1, grid.shape[2:]).permute(3, 0, 1, 2)
    assert_close(together(windows_of(image, model, count), 0, count), expected)
    if count > 7:
        assert_close(together(windows_of(image, model, count), 3, 6), expected[3:6])


def test_layers_come_and_go() -> None:
    """Of a long volume no more than a window's depth and a half is held, whatever its length."""
    model, held = tp_mamba(), []
    real = module._layer

    def counted(windows: Windows, start: int) -> Tensor:
        layer = real(windows, start)
        held.append(layer.numel())
        return layer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_layer", counted)
        slices = sliding_window(windows_of(torch.rand(40, 32, 32), model), 0, 40)
        with torch.inference_mode():
            next(slices)
            assert len(held) == 1  # the first slices are given away before the second layer is computed
            for _ in slices:
                pass
    assert set(held) == {8 * 5 * 32 * 32} and len(held) == 9


@pytest.mark.parametrize("spacing", [0.0, 3.0])
def test_a_volume_on_its_own_grid(spacing: float) -> None:
    ours, volume = predictor(spacing), phantom()
    found = ours.predict(volume)
    assert found.array.shape == volume.array.shape and found.spacing == volume.spacing
    region = Region.between((-500, -500, 3 * 6.0 - 1), (500, 500, 5 * 6.0 + 1))
    inside = ours.predict(volume, region=region).array
    assert_same_labels(inside[3:6], found.array[3:6])
    assert inside[:3].max() == inside[6:].max() == 0


def test_progress_and_organs() -> None:
    ours, volume, seen = predictor(), phantom(), []
    name = ours.labels.names[0]
    found, confidence = ours.predict_with_confidence(volume, organs=[name], progress=lambda part, _: seen.append(part))
    assert set(np.unique(found.array)) <= {0, ours.labels.by_name(name).value}
    assert set(confidence) <= {name} and seen == sorted(seen) and seen[-1] == 1


def test_a_grid_is_for_3d_models() -> None:
    model = small_model("samed")
    with pytest.raises(ValueError, match=r"'samed' sees slices as they lie, not a grid of 1\.0 mm"):
        Predictor(model, replace(small_card(model.variant), preprocessing=replace(CT, spacing=1.0)))


@pytest.mark.parametrize(("change", "message"), [({"spacing": -1.0}, "steps of -1.0 mm"),
                                                 ({"spacing": 1.0, "neighbours": 5.0}, "set neighbours to 0")])
def test_impossible_grids(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CT, **change)
