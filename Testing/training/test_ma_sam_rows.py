"""ma_sam and ma_sam_box at every size, class count and depth: build, learn a step, save, load, segment a phantom."""

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
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Region
from Training.objectives.prompted import PromptedObjective
from Training.objectives.segmentation import SegmentationLoss, SegmentationObjective

LABELS = {1: "spleen", 8: "synapse", 13: "btcv13"}
QUICK = {("ma_sam", 80, 8, 5), ("ma_sam", 80, 1, 1), ("ma_sam_box", 80, 13, 5), ("ma_sam_box", 80, 8, 1)}
SIZES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
         for case in product(("ma_sam", "ma_sam_box"), (80, 224, 256, 512), LABELS, (1, 5))]


def learn_steps(model: SegmentationModel, depth: int) -> set[str]:
    """The parts of which everything that has a gradient moved, after two steps: what starts at zero hides the rest."""
    side = model.image_size
    prompted = model.variant.prompt == "box"
    objective = (PromptedObjective(model, SegmentationLoss()) if prompted else SegmentationObjective(model, "full"))
    objective.train()
    train_only(model, own_keys(model, model.variant.trained))
    values = 2 if prompted else model.num_classes + 1
    label = (torch.arange(side) * values // side).expand(1, depth, side, side)
    prompt = [torch.tensor([[2.0, 2.0, side / 2, side / 2]]), torch.tensor([1])] if prompted else []
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    for _ in range(2):
        optimiser.zero_grad()
        objective([torch.rand(1, 1, depth, side, side), label, *prompt]).backward()
        optimiser.step()
    return {part_of(name) for name, value in before.items() if not torch.equal(model.get_parameter(name), value)}


@pytest.mark.parametrize(("row", "image_size", "classes", "depth"), SIZES)
def test_from_nothing_to_a_segmentation(row: str, image_size: int, classes: int, depth: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = get_label_set(LABELS[classes])
    model = build_model(replace(get_variant(row, "tiny"), depth=depth), classes, image_size)
    assert learn_steps(model, depth) == set(model.variant.trained)
    card = Card("model", row, model.variant, image_size, labels,
                Preprocessing("CT", "hu_window", -160, 240, "body", image_size))
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, read = load_model(tmp_path / "m.safetensors")
    assert read == card
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    phantom = make_phantom(0, (8.0, 8.0, 70.0), oriented=True).ct
    boxes = {labels.names[0]: Region.between((-100, -100, -900), (100, 100, 900))} if row == "ma_sam_box" else None
    found = Predictor(loaded, read, batch_size=2).predict(phantom, boxes=boxes)
    assert found.array.shape == phantom.array.shape and found.direction == phantom.direction
    assert set(found.array.ravel()) <= ({0, 1} if boxes else set(range(classes + 1)))
