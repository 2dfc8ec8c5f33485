"""Image level without a teacher: contrast two views of a slice (SimCLR's NT-Xent; the paper's "Scratch" row)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.model import as_rgb_slices


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Normalised temperature-scaled cross-entropy (Chen et al. 2020, eq. 1).

    Args:
        first, second: projections (B, C) of the two views; row i of both is the positive pair.
    """
    views = F.normalize(torch.cat([first, second]), dim=1)
    similarity = views @ views.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    count = len(first)
    positive = torch.arange(2 * count, device=views.device).roll(count)
    return F.cross_entropy(similarity, positive)


class ContrastiveObjective(nn.Module):
    """NT-Xent between pooled embeddings of two views, through a projector that is thrown away afterwards."""

    def __init__(self, encoder: SamImageEncoder, out_chans: int, hidden: int = 512, temperature: float = 0.2) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature = temperature
        self.projector = nn.Sequential(nn.Linear(out_chans, hidden), nn.LayerNorm(hidden), nn.GELU(),
                                       nn.Linear(hidden, 128))

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of two views (B, C, D, S, S) each."""
        slices = torch.cat([as_rgb_slices(view) for view in views])
        embedding = self.encoder(slices, "image").mean(dim=(2, 3))
        first, second = self.projector(embedding).chunk(2)
        return nt_xent(first, second, self.temperature)
