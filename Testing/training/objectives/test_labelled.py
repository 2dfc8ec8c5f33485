"""An expert taught with labels: what reaches it, and what it is compared with."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.small import IMAGE_SIZE, SIZE, randomise
from Training.data.slices import IGNORED
from Training.objectives.labelled import LabelledObjective


@pytest.fixture
def model() -> SegmentationModel:
    torch.manual_seed(0)
    built = build_model(get_variant("samed", adapters=("patch",), trained=("lora",), encoder_size=SIZE), 1, IMAGE_SIZE)
    randomise(built)
    train_only(built, expert_keys(built, "patch"))
    return built


def batch() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=generator)
    label = torch.zeros(3, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.long)
    label[:, :, 4:20, 6:12], label[:, :, 18:30, 16:28], label[1] = 1, 2, IGNORED
    return [image, label]


def test_the_loss_by_hand(model: SegmentationModel) -> None:
    objective, (image, label) = LabelledObjective(model.image_encoder, "patch", SIZE.out_chans, 2), batch()
    embedding = model.image_encoder(image[:, 0].expand(-1, 3, -1, -1), "patch")
    weight, bias = objective.head.weight[:, :, 0, 0], objective.head.bias[:, None, None]
    read = torch.einsum("bchw,kc->bkhw", embedding, weight) + bias
    logits = F.interpolate(read, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")[[0, 2]]
    target = label[[0, 2], 0]
    hot, probability = F.one_hot(target, 3).movedim(-1, 1).float(), logits.softmax(dim=1)
    over = (0, 2, 3)
    dice = 1 - 2 * (hot * probability).sum(over) / (hot.square().sum(over) + probability.square().sum(over))
    assert_close(objective([image, label]), 0.2 * F.cross_entropy(logits, target) + 0.8 * dice.mean(), 1e-3)


def test_the_gradient_reaches_the_expert_and_the_linear_layer_alone(model: SegmentationModel) -> None:
    objective = LabelledObjective(model.image_encoder, "patch", SIZE.out_chans, 2)
    objective(batch()).backward()
    reached = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    assert reached == {"head.weight", "head.bias", *(name for name, _ in objective.named_parameters()
                                                     if ".lora.patch." in name)}


def test_a_few_steps_lower_the_loss(model: SegmentationModel) -> None:
    objective = LabelledObjective(model.image_encoder, "patch", SIZE.out_chans, 2)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    before = objective(batch()).item()
    for _ in range(10):
        optimizer.zero_grad()
        objective(batch()).backward()
        optimizer.step()
    assert objective(batch()).item() < 0.9 * before
