"""The straightforward step that ours is measured against is the same step."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import torch

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import own_keys, train_only
from Testing.benchmarks.peak_memory import peak_mb
from Testing.benchmarks.straightforward import straightforward
from Testing.benchmarks.training import main
from Testing.closeness import assert_close
from Testing.small import FUSION, IMAGE_SIZE, randomise, small_variant
from Training.objectives.segmentation import SegmentationObjective

CPU = torch.device("cpu")


def model_of(name: str, inputs: str) -> SegmentationModel:
    """Frozen as in stage 2, random weights throughout."""
    torch.manual_seed(0)
    variant = small_variant(name)
    if variant.fusion is not None:
        variant = replace(variant, fusion=replace(FUSION, inputs=inputs))
    model = build_model(variant, 3, IMAGE_SIZE)
    randomise(model)
    train_only(model, own_keys(model, variant.trained))
    return model


@pytest.mark.parametrize(("name", "inputs"), [("samed", ""), ("samora", "difference"), ("samora", "stream")])
def test_our_step_has_the_straightforward_ones_gradients(name: str, inputs: str) -> None:
    """Windows of three on a grid of four: the package pads, we do not."""
    model = model_of(name, inputs)
    twin = copy.deepcopy(model)
    twins = list(zip(model.named_parameters(), twin.parameters(), strict=True))
    generator = torch.Generator().manual_seed(1)
    batch = [torch.rand(2, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator),
             torch.randint(0, 4, (2, 1, IMAGE_SIZE, IMAGE_SIZE), generator=generator)]
    losses = [SegmentationObjective(one).train()(batch) for one in (model, straightforward(twin))]
    assert_close(losses[0], losses[1])
    for loss in losses:
        loss.backward()
    reached = {key for (key, parameter), _ in twins if parameter.grad is not None and parameter.grad.any()}
    assert any(".lora." in key if name == "samed" else "blocks.0.hl_attn." in key for key in reached)
    largest = max(float(other.grad.abs().max()) for _, other in twins if other.grad is not None)
    for (key, parameter), other in twins:
        assert (parameter.grad is None) == (other.grad is None), key
        if parameter.grad is not None:
            assert_close(parameter.grad, other.grad, scale=largest, what=key)


def test_the_peers_streams_are_the_packages_blocks() -> None:
    encoder = straightforward(model_of("samora", "difference")).image_encoder
    kinds = {type(stream).__module__ for block in encoder.blocks for stream in block.streams}
    assert kinds == {"segment_anything.modeling.image_encoder"}
    assert all(len(block.streams) == 4 for block in encoder.blocks)


def test_the_peak_counts_what_is_alive_at_once() -> None:
    def work() -> None:
        for _ in range(3):
            torch.empty(1000, 1000)  # 4 MB, freed before the next
        kept = [torch.empty(1000, 1000) for _ in range(3)]
        del kept

    assert peak_mb(work, CPU) == pytest.approx(12, rel=0.01)


def test_the_command_compares_steps(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--variants", "samora", "--encoder", "tiny", "--image-size", "80", "--batch-size", "1", "--rounds", "1",
          "--json"])
    [row] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["ratio"] == pytest.approx(row["ours"] / row["theirs"])
    assert row["difference"] < 1e-4 and 0 < row["recompute_peak_mb"] < row["peak_mb"]
