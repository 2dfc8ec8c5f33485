"""SimCLR's loss, over one process or many."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from Training.objectives.processes import gathered


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, eq. 1) over the batch of all processes.

    Each process compares its own views with everyone's; the mean over the processes is the loss of the whole batch, and
    its gradient reaches all of them, as DistributedDataParallel takes the mean of the parameters' gradients.

    Args:
        first, second: projections (B, C) of the two views; row i of both is the positive pair. B is the same in all
            processes.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    everyone, start = gathered(views)
    similarity = views @ everyone.T / temperature
    similarity.diagonal(start).fill_(float("-inf"))
    count = len(first)
    positive = start + torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(similarity, positive)
