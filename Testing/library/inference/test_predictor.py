"""The predictor: any order of the axes gives the same answer, and options change nothing that they do not name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.card import Card
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import Prediction
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Region, Volume
from Testing.closeness import assert_close, assert_same_labels

CT = Preprocessing("CT", "hu_window", -125, 275, "body", 32)
ROTATION = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]


class Edges(nn.Module):
    """A model whose answer depends on direction, neighbours and position in the slice, so that no flip goes unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 5, 5, padding=2)
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, image: Tensor) -> Prediction:
        ramp = torch.linspace(0, 1, image.shape[-1]).expand_as(image)
        logits = self.conv(torch.cat([image, ramp], dim=1)[:, :, 0])
        return Prediction(logits[:, :, None], logits.new_zeros(len(logits), 5, 1), tuple(image.shape[-2:]))


def predictor(batch_size: int = 3, crop: str = "body", skim: int = 1, **orientation: str) -> Predictor:
    how = replace(CT, crop=crop, **orientation)
    card = Card("model", "edges", get_variant("sam"), 32, get_label_set("chaos_mr"), how)
    return Predictor(Edges(), card, batch_size=batch_size, skim=skim)


def body(direction: np.ndarray, shape: tuple[int, int, int] = (7, 24, 28)) -> Volume:
    rng = np.random.default_rng(0)
    array = np.full(shape, -1000, np.int16)
    array[:, 4:-3, 3:-6] = rng.integers(-150, 300, array[:, 4:-3, 3:-6].shape)
    return Volume(array, (2.0, 2.5, 6.0), (5.0, -7.0, 11.0), tuple(direction.ravel()))


def restored_otherwise(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same points of the patient, stored with grid axes in another ``order`` and direction."""
    array = np.transpose(volume.array, [2 - axis for axis in reversed(order)])
    array = np.flip(array, [2 - n for n, sign in enumerate(signs) if sign < 0])
    first = np.zeros(4)
    first[3] = 1
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = volume.array.shape[2 - axis] - 1 if sign < 0 else 0
    direction = np.reshape(volume.direction, (3, 3))[:, order] * signs
    spacing = tuple(volume.spacing[axis] for axis in order)
    origin = tuple((volume.ijk_to_lps @ first)[:3])
    return Volume(np.ascontiguousarray(array), spacing, origin, tuple(direction.ravel()))  # type: ignore[arg-type]


@pytest.mark.parametrize("crop", ["none", "body"])
@pytest.mark.parametrize(("rows", "columns", "turn"), [
    ("anterior", "left", lambda array: array[:, ::-1]), ("posterior", "right", lambda array: array[:, :, ::-1]),
    ("anterior", "right", lambda array: array[:, ::-1, ::-1]),
    ("left", "posterior", lambda array: array.transpose(0, 2, 1))])
def test_a_model_of_turned_slices_sees_them_turned_and_its_labels_lie_where_the_organs_do(
        rows: str, columns: str, turn: Callable[[np.ndarray], np.ndarray], crop: str) -> None:
    """What another model says of a volume that is itself turned."""
    volume = body(np.eye(3))
    across, down, along = volume.spacing
    spacing = (down, across, along) if rows == "left" else volume.spacing
    turned = Volume(turn(volume.array).copy(), spacing, volume.origin, volume.direction)
    expected = predictor(crop=crop).predict(turned)
    found = predictor(crop=crop, rows=rows, columns=columns).predict(volume)
    assert_same_labels(turn(found.array).copy(), expected.array)
    assert len(np.unique(found.array)) > 2


@pytest.mark.parametrize("direction", [np.eye(3), ROTATION, -ROTATION], ids=["straight", "oblique", "left-handed"])
def test_all_48_orders_and_flips_give_the_reordered_result(direction: np.ndarray) -> None:
    volume = body(direction)
    expected = predictor().predict(volume)
    assert len(np.unique(expected.array)) > 3, "the model must distinguish something"
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        found = predictor().predict(restored_otherwise(volume, order, signs))
        assert np.array_equal(found.array, restored_otherwise(expected, order, signs).array), (order, signs)


@pytest.mark.parametrize("crop", ["body", "none"])
def test_the_result_lies_on_the_inputs_grid_whatever_the_batch(crop: str) -> None:
    volume = body(ROTATION)
    results = [predictor(size, crop).predict(volume) for size in (1, 3, 8)]
    for result in results[1:]:
        assert_same_labels(result.array, results[0].array)
    assert results[0].array.dtype == np.uint8
    assert (results[0].spacing, results[0].origin, results[0].direction) == (volume.spacing, volume.origin,
                                                                            volume.direction)


def test_one_slice_is_a_volume() -> None:
    assert predictor().predict(body(np.eye(3), (1, 24, 28))).array.shape == (1, 24, 28)


def test_a_region_is_exact_inside_and_empty_outside() -> None:
    volume = body(np.eye(3))
    whole = predictor().predict(volume).array
    region = Region.between((10, 0, 16), (40, 30, 36))  # i 3..17, j 3..14, k 1..4
    found = predictor().predict(volume, region=region).array
    inside = np.zeros(whole.shape, bool)
    inside[1:5, 3:15, 3:18] = True
    assert not found[~inside].any()
    assert_same_labels(found[inside], whole[inside])


def test_confidence_is_the_mean_probability_of_an_organs_voxels() -> None:
    """Against the model's own softmax, slice by slice; the region and the organs count."""
    volume, ours = body(np.eye(3)), predictor(crop="none")
    organs = list(ours.predict_with_confidence(volume)[1])[1:]
    region = Region.between((10, 0, 16), (40, 30, 36))
    labels, confidence = ours.predict_with_confidence(volume, organs, region)
    prepared = prepare_volume(volume, ours.preprocessing)
    images = torch.from_numpy(prepared.slices(0, len(volume.array)))
    canonical = prepared.reorientation.apply(labels.array)
    probabilities = ours.model(images[:, :, None]).resized(volume.array.shape[1:])[:, :, 0].softmax(1).detach().numpy()
    assert {ours.labels.by_name(name).value for name in confidence} == set(np.unique(canonical)) - {0}
    for name, mean in confidence.items():
        value = ours.labels.by_name(name).value
        assert_close(mean, probabilities[:, value][canonical == value].mean())
    assert len(confidence) > 1


def test_a_region_between_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no voxel of the volume"):
        predictor().predict(body(np.eye(3)), region=Region.between((5.5, -7, 11), (6, 7, 20)))


def test_slices_outside_a_region_are_not_run() -> None:
    seen: list[int] = []
    ours = predictor(batch_size=8)
    ours.model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    ours.predict(body(np.eye(3)), region=Region.between((-100, -100, 16), (100, 100, 36)))
    assert sum(seen) == 4


def test_slices_outside_the_body_are_not_run_and_the_others_unchanged() -> None:
    volume = body(np.eye(3))
    array = np.pad(volume.array, ((9, 6), (0, 0), (0, 0)), constant_values=-1000)
    ours, seen = predictor(batch_size=8), []
    ours.model.register_forward_hook(lambda module, inputs, output: seen.append(len(inputs[0])))
    found = ours.predict(replace(volume, array=array)).array
    assert sum(seen) == 7
    assert_same_labels(found[9:-6], ours.predict(volume).array)
    assert found[:9].max() == found[-6:].max() == 0


class Bright(nn.Module):
    """Class 1 wherever a slice is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Prediction:
        self.seen += [len(image)]
        one = image[:, :, 0] - 0.9
        logits = torch.cat([0 * one, one, *[one - 9] * 3], dim=1)
        return Prediction(logits[:, :, None], logits.new_zeros(len(logits), 5, 1), tuple(image.shape[-2:]))


def bright(*numbers: int) -> Volume:
    """40 slices of tissue, some of which show a bright organ."""
    array = np.full((40, 24, 28), -1000, np.int16)
    array[:, 4:-3, 3:-6] = 40
    array[list(numbers), 8:16, 8:16] = 300
    return Volume(array, (2.0, 2.5, 3.0), (5.0, -7.0, 11.0), tuple(np.eye(3).ravel()))


def test_skimming_finds_the_same_and_runs_less() -> None:
    volume, labels = bright(*range(10, 17)), {}
    for skim in (1, 4):
        ours = predictor(skim=skim)
        ours.model = Bright()
        labels[skim] = ours.predict(volume).array
        assert sum(ours.model.seen) == {1: 40, 4: 10 + 9}[skim]  # 12 and 16 are found: 9 more from 9 to 19
    assert labels[1][10:17].any(axis=(1, 2)).all()
    assert np.array_equal(labels[1], labels[4])


def test_skimming_labels_nothing_that_would_not_be_looked_at() -> None:
    volume = bright(4)
    volume.array[30:] = -1000  # where the body has ended, and lies
    volume.array[32, 10:13, 10:13] = 300  # something that is a 20th of it
    labels = {}
    for skim in (1, 4):
        ours = predictor(skim=skim)
        ours.model = Bright()
        labels[skim] = ours.predict(volume).array
    assert labels[1].any() and np.array_equal(labels[1], labels[4])


def test_skimming_for_other_organs_looks_no_further() -> None:
    ours = predictor(skim=4)
    ours.model = Bright()
    assert not ours.predict(bright(*range(10, 17)), organs=["spleen"]).array.any()
    assert sum(ours.model.seen) == 10


def test_a_region_is_exact_inside_when_skimming() -> None:
    volume, ours = bright(*range(8, 10)), predictor(skim=4)
    ours.model = Bright()
    region = Region.between((-100, -100, 11 + 9 * 3), (100, 100, 11 + 12 * 3))
    found = ours.predict(volume, region=region).array
    assert np.array_equal(found[9:13], ours.predict(volume).array[9:13])
    assert found[9].any()


def test_without_options_eight_slices_run_at_once_and_every_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn, because a thread would take from a CPU what it gives."""
    monkeypatch.setattr("SAMoraLib.inference.predictor.prefetched", None)
    card = Card("model", "bright", get_variant("sam"), 32, get_label_set("chaos_mr"), CT)
    ours = Predictor(Bright(), card)
    assert ours.predict(bright(*range(10, 12))).array.any()
    assert ours.model.seen == [8] * 5


def test_models_of_slabs_cannot_skim() -> None:
    card = Card("model", "slabs", get_variant("ma_sam"), 32, get_label_set("chaos_mr"), CT)
    with pytest.raises(ValueError, match="'ma_sam' looks at slices together or in boxes and cannot skim; let"):
        Predictor(Edges(), card, skim=2)
    assert Predictor(Edges(), card, skim=1).skim == Predictor(Edges(), card).skim == 1


def test_a_region_beside_the_volume_is_refused() -> None:
    with pytest.raises(ValueError, match=r"region z 500\.\.600 mm does not meet .*, whose z runs from 11\.0 to 47"):
        predictor().predict(body(np.eye(3)), region=Region.between((-100, -100, 500), (100, 100, 600)))


@pytest.mark.parametrize("left_out", [0, 2])
def test_an_organ_that_is_not_asked_for_becomes_background(left_out: int) -> None:
    ours, volume = predictor(crop="none"), body(np.eye(3))
    whole = ours.predict(volume).array
    found = ours.predict(volume, organs=[name for number, name in enumerate(ours.labels.names) if number != left_out])
    assert (whole == left_out + 1).any()
    assert np.array_equal(found.array, np.where(whole == left_out + 1, 0, whole))


@pytest.mark.parametrize(("precision", "half", "rounded"), [("full", False, []), ("half", True, []),
                                                            ("int8", False, ["blocks"])])
def test_a_precision_is_taken_alone(precision: str, half: bool, rounded: list[str], monkeypatch: pytest.MonkeyPatch
                                    ) -> None:
    asked: list[object] = []
    monkeypatch.setattr("SAMoraLib.inference.predictor.multiply_in_int8", asked.append)
    ours = predictor()
    ours.model.image_encoder = nn.Identity()
    ours.model.image_encoder.blocks = "blocks"
    ours.compute_in(precision)
    assert ours.half == half and asked == rounded


def test_unknown_organs_are_refused_before_work() -> None:
    calls: list[str] = []
    with pytest.raises(ValueError, match="'heart' is not an organ of this model"):
        predictor().predict(body(np.eye(3)), organs=["heart"], progress=lambda fraction, stage: calls.append(stage))
    assert calls == []


def test_progress_runs_from_0_to_1_and_can_cancel() -> None:
    fractions: list[float] = []
    predictor().predict(body(np.eye(3)), progress=lambda fraction, stage: fractions.append(fraction))
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1

    class Cancelled(Exception):
        pass

    def cancel(fraction: float, stage: str) -> None:
        if fraction > 0.3:
            raise Cancelled

    with pytest.raises(Cancelled):
        predictor().predict(body(np.eye(3)), progress=cancel)


def test_progress_is_the_share_of_the_slices_that_are_done() -> None:
    told: list[tuple[float, str]] = []
    predictor(batch_size=3).predict(body(np.eye(3)), progress=lambda *what: told.append(what))
    assert told == [(0, "preprocessing"), (0, "segmenting"), (3 / 7, "segmenting"), (6 / 7, "segmenting"),
                    (1, "segmenting"), (1, "done")]


def test_a_card_without_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="no labels or preprocessing"):
        Predictor(Edges(), Card("base", "b", get_variant("sam"), 32))
