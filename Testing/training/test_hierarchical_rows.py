"""h_sam and h_samora at every image size and class count: build, learn one step, save, load, segment a phantom."""

from __future__ import annotations

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
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Region, Volume
from Training.objectives.hierarchical import HierarchicalObjective
from Training.objectives.segmentation import SegmentationLoss
from Training.settings.deep_supervision import DeepSupervision

LABELS = {1: "spleen", 8: "synapse", 13: "btcv13"}
QUICK = {("h_sam", 224, 8), ("h_samora", 80, 13)}
SIZES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
         for case in product(("h_sam", "h_samora"), (80, 224, 256, 512), LABELS)]


def learn_one_step(model: SegmentationModel) -> bool:
    """Whether every part that the row trains has moved."""
    objective = HierarchicalObjective(model, [1 / (model.num_classes + 1)] * (model.num_classes + 1),
                                      DeepSupervision(), SegmentationLoss()).train()
    train_only(model, own_keys(model, model.variant.trained))
    trained = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    side = model.image_size
    label = torch.arange(side).repeat(1, 1, side, 1) * (model.num_classes + 1) // side
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    objective([torch.rand(1, 1, 1, side, side), label, torch.tensor([0])]).backward()
    optimiser.step()
    moved = [name for name, before in trained.items() if not torch.equal(model.get_parameter(name), before)]
    return {name.split(".")[0] for name in moved} == {name.split(".")[0] for name in trained}


@pytest.mark.timeout(1800)  # four streams of 4096 tokens
@pytest.mark.parametrize(("row", "image_size", "classes"), SIZES)
def test_from_nothing_to_a_segmentation(row: str, image_size: int, classes: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = get_label_set(LABELS[classes])
    model = build_model(get_variant(row, "tiny"), classes, image_size)
    assert learn_one_step(model)
    card = Card("model", row, model.variant, image_size, labels,
                Preprocessing("CT", "hu_window", -160, 240, "body", image_size))
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, read = load_model(tmp_path / "m.safetensors")
    assert read == card
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    phantom = make_phantom(0, (8.0, 8.0, 70.0), oriented=True).ct
    found = Predictor(loaded, read, batch_size=2).predict(phantom)
    assert found.array.shape == phantom.array.shape and found.direction == phantom.direction
    assert set(found.array.ravel()) <= set(range(classes + 1)) and found.array.any()


def test_a_region_changes_nothing_inside() -> None:
    torch.manual_seed(0)
    model = build_model(get_variant("h_sam", "tiny"), 8, 80)
    card = Card("model", "h_sam", model.variant, 80, get_label_set("synapse"),
                Preprocessing("CT", "hu_window", -160, 240, "body", 80))
    predictor, phantom = Predictor(model, card), make_phantom(0, (8.0, 8.0, 40.0)).ct
    whole, confidence = predictor.predict_with_confidence(phantom)
    region = Region(tuple(volume_centre(phantom)), (120.0, 0, 0, 0, 120.0, 0, 0, 0, 90.0))
    inside = region.mask(phantom)
    assert (predictor.predict(phantom, region=region).array[inside] == whole.array[inside]).all()
    assert set(confidence) <= set(card.labels.names) and all(0 < value <= 1 for value in confidence.values())


def volume_centre(volume: Volume) -> list[float]:
    middle = [(count - 1) / 2 for count in volume.array.shape[::-1]]
    return (volume.ijk_to_lps @ [*middle, 1])[:3].tolist()
