"""Whole volumes with a model that sees slabs: every slice once, or in every slab that holds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from SAMoraLib.card import Card
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.kernels import linear
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.volume import Region, Volume
from Testing.closeness import assert_close, assert_same_labels
from Testing.small import CT, IMAGE_SIZE, small_model

SPACING = 6.0


def phantom(slices: int) -> Volume:
    rng = np.random.default_rng(0)
    array = np.full((slices, 24, 28), -1000, np.int16)
    array[:, 4:-3, 3:-6] = rng.integers(-150, 300, array[:, 4:-3, 3:-6].shape)
    return Volume(array, (2.0, 2.5, SPACING), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def predictor(batch_size: int = 4, slabs: str = "streamed") -> Predictor:
    model = small_model("ma_sam")
    card = Card("model", "small", model.variant, IMAGE_SIZE, get_label_set("chaos_mr"), CT)
    return Predictor(model, card, batch_size=batch_size, slabs=slabs)


def logits(ours: Predictor, volume: Volume, begin: int, end: int) -> Tensor:
    """(N, K, s, s) of slices begin..end, and that each of them comes once, in order."""
    wanted = np.zeros(len(volume.array), bool)
    wanted[begin:end] = True
    with torch.inference_mode():
        steps = list(ours._logits(prepare_volume(volume, ours.preprocessing), wanted, ()))
    assert [number for batch, _ in steps for number in range(batch.start, batch.stop)] == [*range(begin, end)]
    return torch.cat([found for _, found in steps])


def as_one_slab(ours: Predictor, volume: Volume) -> Tensor:
    """All slices in one pass, neighbours weighted by the share of places at which a slab of five shows them."""
    model: SegmentationModel = ours.model
    for block in model.image_encoder.blocks:
        for adapter in block.depth_adapters:
            adapter.conv.weight.data[:, :, [0, 2]] *= 4 / 5
    images = torch.from_numpy(prepare_volume(volume, ours.preprocessing).slices(0, len(volume.array)))
    with torch.inference_mode():
        return model(images.transpose(0, 1)[None]).low_res_logits[0].transpose(0, 1)


@pytest.mark.parametrize("batch_size", [1, 4, 30])
@pytest.mark.parametrize("slices", [1, 2, 13])
def test_a_stream_is_one_long_slab(slices: int, batch_size: int) -> None:
    volume = phantom(slices)
    expected = as_one_slab(predictor(), volume)
    found = logits(predictor(batch_size), volume, 0, slices)
    assert_close(found, expected)


def test_no_more_slices_run_at_once_than_asked_for() -> None:
    ours, seen = predictor(batch_size=3), []
    for block in ours.model.image_encoder.blocks:
        block.attn.register_forward_hook(lambda layer, inputs, output: seen.append(len(inputs[0])))
    windows = 4  # of three tokens, on a grid of four
    logits(ours, phantom(20), 0, 20)
    assert max(seen) <= 3 * windows


@pytest.mark.parametrize("slabs", ["streamed", "overlapping"])
def test_a_region_is_exact_inside(slabs: str) -> None:
    volume, ours = phantom(24), predictor(slabs=slabs)
    whole = logits(ours, volume, 0, 24)
    assert_close(logits(ours, volume, 9, 13), whole[9:13])
    region = Region.between((-100, -100, 9 * SPACING), (100, 100, 12 * SPACING))
    found = ours.predict(volume, region=region).array
    assert_same_labels(found[9:13], ours.predict(volume).array[9:13])
    assert found[:9].max() == found[13:].max() == 0


@pytest.mark.parametrize(("begin", "end", "streamed", "centres"), [
    (9, 13, range(5, 17), 8), (0, 3, range(7), 5), (22, 24, range(18, 24), 4), (11, 12, range(7, 16), 5)])
def test_only_slices_that_a_region_needs_are_encoded(begin: int, end: int, streamed: range, centres: int,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks with two adapters each reach four slices to both sides, and a slab of five two."""
    for slabs, numbers in (("streamed", [*streamed]), ("overlapping", None)):
        ours, asked = predictor(slabs=slabs), []
        real = ours._images
        monkeypatch.setattr(ours, "_images", lambda prepared, numbers, real=real, asked=asked: (
            asked.append(numbers.tolist()), real(prepared, numbers))[1])
        logits(ours, phantom(24), begin, end)
        if numbers is None:
            assert len(asked) == centres and all(len(slab) == 5 for slab in asked)
        else:
            assert [number for chunk in asked for number in chunk] == numbers


def test_overlapping_slabs_are_averaged_as_in_the_released_code() -> None:
    volume, slices = phantom(7), 7
    ours = predictor(slabs="overlapping")
    images = torch.from_numpy(prepare_volume(volume, ours.preprocessing).slices(0, slices))
    sums = torch.zeros(slices, 5, 32, 32)
    for centre in range(slices):
        places = range(centre - 2, centre + 3)
        slab = torch.stack([images[min(max(place, 0), slices - 1)] for place in places], dim=1)[None]
        with torch.inference_mode():
            found = ours.model(slab).low_res_logits[0].softmax(0)
        for number, place in enumerate(places):
            if 0 <= place < slices:
                sums[place] += found[:, number]
    averaged = sums / sums.sum(1, keepdim=True)
    assert_close(logits(ours, volume, 0, slices).exp(), averaged)


def test_a_stream_takes_a_fifth_of_the_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "processor_is_half_used", lambda: False)  # torch counts no products by oneDNN's name
    volume, counts = phantom(8), {}
    for slabs in ("streamed", "overlapping"):
        with FlopCounterMode(display=False) as counter:
            logits(predictor(8, slabs), volume, 0, 8)
        counts[slabs] = counter.get_total_flops()
    assert counts["overlapping"] / counts["streamed"] >= 4.5


def test_an_unknown_way_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown slab pass 'long'; choose from streamed, overlapping"):
        predictor(slabs="long")


def test_half_precision_does_not_leak_between_the_steps() -> None:
    ours = predictor()
    ours.half = True
    prepared = prepare_volume(phantom(9), ours.preprocessing)
    for _ in ours._segmented(prepared, np.ones(9, bool), ()):
        assert not torch.is_autocast_enabled("cpu")


def test_few_slices_are_a_volume() -> None:
    assert predictor().predict(phantom(2)).array.shape == (2, 24, 28)
