"""tp_mamba at every size, class count and depth: build, learn, save, load, segment a phantom; and a whole run."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from SAMoraLib.card import Card
from SAMoraLib.checkpoint import load_model, save_model
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import own_keys, part_of, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import ENCODER_SIZES, get_variant
from Testing.small import small_card
from Testing.training.conftest import Cases
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation
from Training.settings.stages import ReferenceUNet, Stage2
from Training.stage2_finetune import finetune, make_model, make_variant

LABELS = {1: "spleen", 8: "synapse", 13: "btcv13"}
QUICK = {(96, 8, 5), (96, 13, 1), (224, 1, 1)}
SIZES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
         for case in product((96, 224, 256, 512), LABELS, (1, 5))]
GRID = Preprocessing("CT", "hu_window", -160, 240, "body", 32, spacing=10.0)


def learn_two_steps(model: SegmentationModel, depth: int) -> set[str]:
    """The parts that moved: what starts at zero hides the rest in the first step."""
    side = model.image_size
    objective = SegmentationObjective(model, "full").train()
    train_only(model, own_keys(model, model.variant.trained))
    label = (torch.arange(side) * (model.num_classes + 1) // side).expand(1, depth, side, side)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    for _ in range(2):
        optimiser.zero_grad()
        objective([torch.rand(1, 1, depth, side, side), label]).backward()
        optimiser.step()
    return {part_of(name) for name, value in before.items() if not torch.equal(model.get_parameter(name), value)}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("image_size", "classes", "depth"), SIZES)
def test_from_nothing_to_a_segmentation(image_size: int, classes: int, depth: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = get_label_set(LABELS[classes])
    model = build_model(replace(get_variant("tp_mamba", "tiny"), depth=depth), classes, image_size)
    assert learn_two_steps(model, depth) == set(model.variant.trained)
    spacing = 0.0 if depth == 1 else 20.0
    card = Card("model", "tp_mamba", model.variant, image_size, labels,
                Preprocessing("CT", "hu_window", -160, 240, "body", image_size, spacing=spacing))
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, read = load_model(tmp_path / "m.safetensors")
    assert read == card
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    phantom = make_phantom(0, (8.0, 8.0, 70.0), oriented=True).ct
    found = Predictor(loaded, read, batch_size=2).predict(phantom)
    assert found.array.shape == phantom.array.shape and found.direction == phantom.direction
    assert set(found.array.ravel()) <= set(range(classes + 1))


def config(cases: Cases, tmp_path: Path, **changes: object) -> Stage2:
    for case in "ab":
        cases.add(case, seed=ord(case))
    cases.manifest(tmp_path / "prepared", train="a", validation="b")
    base = build_model(get_variant("sam", "tiny"), 2, 64)
    save_model(tmp_path / "base.safetensors", base, small_card(base.variant, "base"))
    optimisation = Optimisation(steps=2, batch_size=1, accelerator="cpu", devices=1, validate_every=2)
    return Stage2(**({"output": tmp_path / "run", "manifest": tmp_path / "prepared" / "manifest.json",
                      "base": tmp_path / "base.safetensors", "variant": "tp_mamba", "encoder": "tiny", "depth": 4,
                      "preprocessing": GRID, "cache": tmp_path / "cache",
                      "optimisation": optimisation} | changes))  # type: ignore[arg-type]


def test_a_run_on_the_grid(cases: Cases, tmp_path: Path) -> None:
    """From files to a checkpoint, validated with sliding windows; the model segments a case."""
    settings = config(cases, tmp_path)
    finetune(settings)
    assert "validation_dice" in (settings.output / "log.jsonl").read_text(encoding="utf-8")
    model, card = load_model(settings.output / "model.safetensors", base=settings.base)
    assert card.variant is not None and card.variant.depth == 4 and card.preprocessing == GRID
    phantom = make_phantom(1, (8.0, 8.0, 20.0)).ct
    assert Predictor(model, card).predict(phantom).array.shape == phantom.array.shape


def test_a_base_gives_the_encoder_alone(cases: Cases, tmp_path: Path) -> None:
    settings = config(cases, tmp_path)
    model = make_model(settings, get_label_set("chaos_mr"))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained and not trained & set(own_keys(model, ["base"]))
    assert model.image_encoder.pos_embed.shape == (1, 4, 4, ENCODER_SIZES["tiny"].embed_dim)


@pytest.mark.parametrize(("changes", "message"), [
    ({"variant": "samed"}, "'samed' sees slices as they lie, not a grid of 10.0 mm"),
])
def test_refusals(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    settings = Stage2(tmp_path, tmp_path, tmp_path, **({"variant": "tp_mamba", "preprocessing": GRID} | changes))
    with pytest.raises(ValueError, match=message):
        make_variant(settings)


def test_impossible_settings(cases: Cases, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="depth is -1"):
        Stage2(tmp_path, tmp_path, tmp_path, "tp_mamba", depth=-1)
    with pytest.raises(ValueError, match=r"sees slices, not a grid of 10\.0 mm"):
        ReferenceUNet(tmp_path, tmp_path, GRID)
    settings = config(cases, tmp_path, classes={"liver": "liver"})
    with pytest.raises(ValueError, match="knows no class"):
        make_model(settings, get_label_set("chaos_mr"))
