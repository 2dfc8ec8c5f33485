"""Prompt mode: one box per target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from SAMoraLib.card import Card
from SAMoraLib.inference.boxes import find_targets
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.volume import Region, Volume
from Testing.closeness import assert_same_labels
from Testing.small import CT, IMAGE_SIZE, small_model

LABELS = get_label_set("chaos_mr")
LOW, HIGH = Region.between((8, 10, 6), (28, 40, 30)), Region.between((20, 20, 24), (45, 45, 60))
STRAIGHT = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def phantom(direction: tuple[float, ...] = STRAIGHT, origin: tuple[float, float, float] = (0, 0, 0)) -> Volume:
    rng = np.random.default_rng(0)
    array = np.full((14, 24, 28), -1000, np.int16)
    array[:, 4:-3, 3:-6] = rng.integers(-150, 300, array[:, 4:-3, 3:-6].shape)
    return Volume(array, (2.0, 2.5, 6.0), origin, direction)


def predictor(row: str = "ma_sam_box", slabs: str = "streamed") -> Predictor:
    model = small_model(row)
    return Predictor(model, Card("model", "small", model.variant, IMAGE_SIZE, LABELS, CT), batch_size=4, slabs=slabs)


@pytest.mark.parametrize("slabs", ["streamed", "overlapping"])
def test_targets_stay_in_their_boxes(slabs: str) -> None:
    volume, boxes = phantom(), {"liver": LOW, "spleen": HIGH}
    found = predictor(slabs=slabs).predict(volume, boxes=boxes).array
    values = {name: LABELS.by_name(name).value for name in boxes}
    assert set(np.unique(found)) == {0, *values.values()}
    for name, box in boxes.items():
        assert not (found == values[name])[~box.mask(volume)].any()


def test_a_target_alone_is_the_target_among_others_but_for_the_overlap() -> None:
    volume, ours, value = phantom(), predictor(), LABELS.by_name("liver").value
    alone = ours.predict(volume, boxes={"liver": LOW}).array
    both = ours.predict(volume, boxes={"liver": LOW, "spleen": HIGH}).array
    overlap = LOW.mask(volume) & HIGH.mask(volume)
    assert_same_labels((both == value)[~overlap], (alone == value)[~overlap])
    assert (both == value)[overlap].sum() <= (alone == value)[overlap].sum()


def test_the_box_matters_beyond_its_edges() -> None:
    """Another box of the same target: inside both, the mask differs, because the decoder is told."""
    volume, ours = phantom(), predictor()
    wider = Region.between((6, 8, 6), (46, 46, 30))
    first, second = (ours.predict(volume, boxes={"liver": box}).array for box in (LOW, wider))
    both = LOW.mask(volume)
    assert not np.array_equal(first[both], second[both])


def test_a_target_is_compared_with_the_background_alone() -> None:
    """The confidence is the target's share of the two: between a half and one."""
    _, confidence = predictor().predict_with_confidence(phantom(), boxes={"liver": LOW})
    assert list(confidence) == ["liver"]
    assert 0.5 <= confidence["liver"] <= 1


def test_the_prompt_is_the_box_on_the_slab() -> None:
    volume, ours = phantom(), predictor()
    prepared = prepare_volume(volume, ours.preprocessing)
    (target,) = find_targets({"liver": LOW}, LABELS, volume, prepared)
    slab = prepared.slices(2, 3)[0, 0]
    scale = len(slab) / prepared.box.shape[1], len(slab) / prepared.box.shape[0]
    i, j = (4, 14), (4, 16)  # voxels whose centres lie in the box: x 8..28 in steps of 2, y 10..40 in steps of 2.5
    for found, voxel, first, factor in zip(target.box, (i[0], j[0], i[1], j[1]), (prepared.box.x0, prepared.box.y0) * 2,
                                           scale * 2, strict=True):
        assert found == pytest.approx((voxel - first + 0.5) * factor - 0.5)


def test_another_order_of_the_axes_gives_the_same_answer() -> None:
    volume, boxes = phantom(), {"liver": LOW}
    expected = predictor().predict(volume, boxes=boxes).array
    flipped = phantom((-1, 0, 0, 0, -1, 0, 0, 0, 1), (54, 57.5, 0))
    flipped = flipped.with_array(np.ascontiguousarray(volume.array[:, ::-1, ::-1]))
    assert np.array_equal(predictor().predict(flipped, boxes=boxes).array[:, ::-1, ::-1], expected)


def test_slices_without_a_box_are_not_decoded() -> None:
    ours, seen = predictor(), []
    ours.model.mask_decoder.transformer.register_forward_hook(lambda part, inputs, output: seen.append(len(inputs[0])))
    ours.predict(phantom(), boxes={"liver": LOW})
    assert sum(seen) == 5  # z 6..30 in steps of 6


def test_a_region_and_boxes_hold_together() -> None:
    volume, ours = phantom(), predictor()
    half = Region.between((0, 0, 0), (60, 60, 18))
    found = ours.predict(volume, boxes={"liver": LOW}, region=half).array
    whole = ours.predict(volume, boxes={"liver": LOW}).array
    assert_same_labels(found[:4], whole[:4])
    assert not found[4:].any()
    with pytest.raises(ValueError, match="The region and the boxes share no slice"):
        ours.predict(volume, boxes={"liver": LOW}, region=Region.between((0, 0, 60), (60, 60, 70)))


def test_boxes_and_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="segments what lies in a box; give one for every organ"):
        predictor().predict(phantom())
    with pytest.raises(ValueError, match="takes no boxes"):
        predictor("ma_sam").predict(phantom(), boxes={"liver": LOW})
    with pytest.raises(ValueError, match="takes no boxes; leave them out"):
        small_model("samed")(torch.rand(1, 1, 1, 32, 32), torch.zeros(1, 4))
    with pytest.raises(ValueError, match="'heart' is not an organ"):
        predictor().predict(phantom(), boxes={"heart": LOW})
    with pytest.raises(ValueError, match="does not meet the volume"):
        predictor().predict(phantom(), boxes={"liver": Region.between((500, 0, 0), (600, 10, 10))})
