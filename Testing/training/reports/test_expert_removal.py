"""What a model loses without an expert: nothing of one that its fusion does not use, and of the others what it says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.model import SegmentationModel, as_rgb_slices
from SAMoraLib.variants import EXPERTS, Fusion
from SAMoraLib.volume import Volume
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import FUSION, IMAGE_SIZE, small_card, small_model
from Training.reports.expert_removal import Change, measure_removals, removals, without_experts

IMAGE = torch.rand(2, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))
KINDS = ("hl_attn", "hcat", "mole", "lac", "lorahub")
HEARD = Fusion(width=8, heads=2, norm=True, add_query=True, gain=True)


def volume(seed: int) -> Volume:
    """A square patient in air, noisy."""
    array = np.full((3, 40, 40), -1000, np.int16)
    array[:, 4:36, 4:36] = np.random.default_rng(seed).integers(-100, 200, (3, 32, 32))
    return Volume(array, (2.0, 2.0, 5.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def measured(model: SegmentationModel, volumes: Sequence[Volume] = (volume(1),)) -> dict[str, Change]:
    return measure_removals(Predictor(model, small_card(model.variant)), volumes)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_removed_experts_stream_is_the_bases_and_it_comes_back(kind: str) -> None:
    model = small_model("samora", fusion=Fusion(width=8, kind=kind))
    block, tokens, before = model.image_encoder.blocks[0], torch.rand(1, 4, 4, 32), model(IMAGE).low_res_logits
    with without_experts(model, EXPERTS):
        base = block(tokens, "image")
        assert all(torch.equal(block(tokens, expert), base) for expert in EXPERTS)
    with without_experts(model, ["patch"]):
        assert torch.equal(block(tokens, "patch"), base)
        assert not any(torch.allclose(block(tokens, other), base, rtol=1e-3) for other in ("image", "pixel"))
        assert not torch.allclose(model(IMAGE).low_res_logits, before, rtol=1e-3)
    assert torch.equal(model(IMAGE).low_res_logits, before)


def test_an_expert_comes_back_after_an_error() -> None:
    model = small_model("samora")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError), without_experts(model, EXPERTS):
        raise KeyError
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_expert_that_the_fusion_does_not_use_changes_nothing() -> None:
    """Eq. 8 leads the pixel expert alone to the output where all weights of the softmax are equal."""
    model = small_model("samora", fusion=FUSION)
    for block in model.image_encoder.blocks:
        for step in (block.hl_attn.low, block.hl_attn.high):
            step.q.weight.data.zero_()
    found = measured(model)
    assert all(found[name].foreground == 0 and found[name].logits < 1e-5 for name in ("image", "patch"))
    assert found["pixel"].foreground > 0 and found["pixel"].logits > 0.01
    assert found["fusion"].logits == pytest.approx(found["pixel"].logits, rel=1e-3)
    assert found["window mean"].logits < 1e-5


def test_with_the_query_added_back_every_expert_is_heard() -> None:
    found = measured(small_model("samora", fusion=HEARD))
    assert all(found[name].foreground > 0.001 and found[name].logits > 0.001 for name in (*EXPERTS, "window mean"))


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_taken_out_of_each_kind(kind: str) -> None:
    model = small_model("samora", fusion=Fusion(width=8, kind=kind))
    parts = [*EXPERTS, "fusion", *["window mean"] * (kind in ("hl_attn", "hcat"))]
    assert list(removals(model)) == parts


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_without_the_fusion_the_encoder_is_the_bases(kind: str) -> None:
    model, base = (small_model(name, fusion=Fusion(width=8, kind=kind)) for name in ("samora", "sam"))
    weights = model.image_encoder.state_dict()
    base.image_encoder.load_state_dict({key: weights[key] for key in base.image_encoder.state_dict()})
    slices = as_rgb_slices(IMAGE)
    expected = base.image_encoder(slices)
    assert not torch.allclose(model.image_encoder(slices), expected, rtol=1e-3)
    with removals(model)["fusion"]():
        assert_close(model.image_encoder(slices), expected)


def test_shares_are_of_all_volumes_together() -> None:
    model = small_model("samora", fusion=HEARD)
    each = [measured(model, [volume(seed)])["image"] for seed in (1, 2)]
    both = measured(model, [volume(1), volume(2)])["image"]
    assert min(one.foreground for one in each) <= both.foreground <= max(one.foreground for one in each)
    assert min(one.logits for one in each) <= both.logits <= max(one.logits for one in each)


def test_shares_by_hand() -> None:
    """A model whose answer is told: ten voxels with an organ, of which three change, and logits of 2 that become 3."""
    model = small_model("samora")
    predictor = Predictor(model, small_card(model.variant))
    labels = np.zeros((3, 40, 40), np.uint8)
    labels[0, 0, :10] = 2

    def predict(given: Volume) -> Volume:
        whole = all(pair.any() for name, pair in model.named_parameters() if name.endswith(".lora.image.q.b"))
        model.sayer(2.0 if whole else 3.0)
        changed = labels.copy()
        changed[0, 0, 9:12] = (2, 0, 0) if whole else (1, 1, 1)
        return given.with_array(changed)

    model.sayer = lambda value: [hook(model, (), type("Said", (), {"low_res_logits": torch.full((2, 2), value)}))
                                 for hook in model._forward_hooks.values()]
    predictor.predict = predict
    told: list[str] = []
    found = measure_removals(predictor, [volume(1)], told.append)
    assert found["image"] == Change(0.3, 0.5) and found["patch"] == Change(0.0, 0.0)
    assert told == ["nothing", *EXPERTS, "fusion", "window mean"]


def test_a_model_that_finds_nothing_has_no_share() -> None:
    model = small_model("samora")
    predictor = Predictor(model, small_card(model.variant))
    predictor.predict = lambda given: given.with_array(np.zeros((3, 40, 40), np.uint8))
    assert measure_removals(predictor, [volume(1)])["image"] == Change(0.0, 0.0)


def test_a_model_without_a_fusion_is_refused() -> None:
    assert refusal(lambda: removals(small_model("samed"))) == (
        "'samed' fuses no experts; give a checkpoint of samora, h_samora or samora_2.")
