"""Contrast two views of a slice (SimCLR's NT-Xent): the teacher itself, and the expert of the paper's "Scratch" row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import as_rgb_slices
from Training.objectives.nt_xent import nt_xent
from Training.teachers.simclr import Simclr


class ContrastiveObjective(nn.Module):
    """NT-Xent between pooled embeddings of two views, through a projector that is thrown away afterwards."""

    compares_the_batch = True  # so it cannot be computed in parts

    def __init__(self, encoder: Encoder, out_chans: int, hidden: int = 512, temperature: float = 0.2) -> None:
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


class SimclrObjective(nn.Module):
    """NT-Xent between the teacher's own projections of two views: SimCLRv2's pre-training, continued."""

    compares_the_batch = True  # so it cannot be computed in parts

    def __init__(self, teacher: Simclr, temperature: float) -> None:
        super().__init__()
        self.teacher = teacher
        self.temperature = temperature

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of two views (B, C, D, S, S) each; both pass in one batch, so they share its statistics."""
        slices = torch.cat([as_rgb_slices(view) for view in views])
        first, second = self.teacher(slices).chunk(2)
        with torch.autocast(first.device.type, enabled=False):  # a tenth as temperature asks for all digits
            return nt_xent(first.float(), second.float(), self.temperature)
