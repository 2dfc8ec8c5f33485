"""The contrastive objective of the teacher."""

from __future__ import annotations

import torch

from Training.objectives.contrastive import SimclrObjective
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
