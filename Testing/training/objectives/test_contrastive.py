"""The contrastive objectives, of the image expert and of its teacher."""

from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import build_model
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE
from Training.objectives.contrastive import ContrastiveObjective, SimclrObjective
from Training.objectives.nt_xent import nt_xent
from Training.teachers.weights import build_teacher


def test_the_teachers_objective_trains_network_and_head() -> None:
    torch.manual_seed(0)
    objective = SimclrObjective(build_teacher("simclr_tiny", 32), 0.1)
    views = list(torch.rand(2, 4, 1, 1, 32, 32))
    optimiser = torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = objective(views)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all(p.grad is not None for p in objective.parameters() if p.requires_grad)


class Channels(nn.Module):
    """An encoder whose embedding is the slice in three channels; notes which expert it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str | None] = []

    def forward(self, slices: Tensor, adapter: str | None = None) -> Tensor:
        self.asked.append(adapter)
        return slices * torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)


def objective_on(encoder: nn.Module, channels: int, *more: float) -> ContrastiveObjective:
    torch.manual_seed(0)
    return ContrastiveObjective(cast("Encoder", encoder), channels, 16, *more)


def test_contrast_sees_both_views() -> None:
    torch.manual_seed(0)
    model = build_model(get_variant("samed", adapters=("image",), encoder_size=SIZE), 1, 32)
    objective = ContrastiveObjective(model.image_encoder, 32)
    first, second = torch.rand(2, 3, 1, 1, 32, 32)
    assert not torch.isclose(objective([first, second]), objective([first, first]))


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_pooled_embeddings_of_the_image_expert_are_contrasted(temperature: float) -> None:
    encoder = Channels()
    objective = objective_on(encoder, 3, temperature)
    first, second = torch.rand(2, 4, 1, 1, 8, 8)
    loss = objective([first, second])
    assert encoder.asked == ["image"], "both views in one batch"
    pooled = [view.mean(dim=(1, 2, 3, 4))[:, None] * torch.tensor([1.0, 2.0, 3.0]) for view in (first, second)]
    assert_close(loss, nt_xent(*(objective.projector(part) for part in pooled), temperature))


def test_a_fifth_is_the_temperature_if_nothing_else_is_said() -> None:
    """The released code's."""
    views = list(torch.rand(2, 4, 1, 1, 8, 8))
    assert torch.equal(objective_on(Channels(), 3)(views), objective_on(Channels(), 3, 0.2)(views))


def test_experts_and_teachers_are_contrasted_in_as_many_channels() -> None:
    projected = ContrastiveObjective(cast("Encoder", Channels()), 3).projector(torch.rand(2, 3))
    assert projected.shape == build_teacher("simclr_tiny", 32)(torch.rand(2, 3, 32, 32)).shape


def test_a_batch_that_is_contrasted_is_not_cut() -> None:
    """What the loop asks before it computes a batch in parts."""
    assert ContrastiveObjective.compares_the_batch and SimclrObjective.compares_the_batch


def test_the_teachers_loss_is_that_of_its_own_projections() -> None:
    torch.manual_seed(0)
    teacher = build_teacher("simclr_tiny", 32).eval()
    first, second = torch.rand(2, 4, 1, 1, 32, 32)
    projections = [teacher(view[:, 0].expand(-1, 3, -1, -1)) for view in (first, second)]
    assert_close(SimclrObjective(teacher, 0.5)([first, second]), nt_xent(*projections, 0.5))
