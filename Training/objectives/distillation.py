"""Image and patch level from a frozen teacher (SAMora eq. 1 with F the teacher, G the student and its projector).

The projector is trained and thrown away. The teacher's features are standardised channel by channel over the data: they
have much in common for all slices, and a projector would learn that, instead of what tells slices and places apart. So
the loss is in units of their spread: the best constant answer costs 1, or less by the channels that never change.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import as_rgb_slices
from Training.objectives.masked import masked_tokens
from Training.teachers.weights import Teacher


class Frozen(nn.Module):
    """A teacher whose weights and statistics stay as they are, whatever mode the objective around it is in.

    Args:
        views: slices (n, C, D, S, S) of the data, over which the features are standardised.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, teacher: Teacher, views: Tensor) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False)
        self.width = teacher.width
        self.eval()
        with torch.inference_mode():
            features = torch.cat([teacher.features(part).flatten(0, -2) for part in as_rgb_slices(views).split(8)])
        self.register_buffer("mean", features.mean(0).clone(), persistent=False)
        # Channels that hardly differ, such as a ReLU's that never fires, must not be blown up.
        self.register_buffer("deviation", features.std(0) + 1e-2 * features.std() + 1e-6, persistent=False)

    def train(self, mode: bool = True) -> Frozen:
        """Never trains."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, slices: Tensor) -> Tensor:
        """(B, 3, S, S) -> standardised features, (B, C) or (B, g, g, C)."""
        return (self.teacher.features(slices).float() - self.mean) / self.deviation


def make_projector(width: int, hidden: int, out: int) -> nn.Sequential:
    """From the student's width to the teacher's (the released code's layers, without its last normalisation)."""
    return nn.Sequential(nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, out))


class ImageDistillation(nn.Module):
    """The student's pooled embedding against SimCLR's features of the same view."""

    def __init__(self, encoder: Encoder, out_chans: int, teacher: Frozen, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.teacher = teacher
        self.projector = make_projector(out_chans, hidden, teacher.width)

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of one view (B, C, D, S, S)."""
        slices = as_rgb_slices(views[0])
        student = self.projector(self.encoder(slices, "image").mean(dim=(2, 3)))
        return F.mse_loss(student.float(), self.teacher(slices))


class PatchDistillation(nn.Module):
    """The student's tokens of a masked view against MAE's tokens of the whole one, place by place (EfficientSAM).

    Both run row by row on the same grid, and masking replaces tokens instead of gathering them: none changes its place.

    Raises:
        ValueError: student and teacher do not have the same grid.
    """

    def __init__(self, encoder: Encoder, token_dim: int, teacher: Frozen, hidden: int, ratio: float) -> None:
        super().__init__()
        grid, own = encoder.grid, teacher.teacher.grid
        if grid != own:
            raise ValueError(f"The student has {grid} x {grid} tokens and the teacher {own} x {own}; choose a teacher "
                             f"with patches of {encoder.img_size // grid} pixels.")
        self.encoder = encoder
        self.ratio = ratio
        self.mask_token = nn.Parameter(0.02 * torch.randn(encoder.pos_embed.shape[-1]))
        self.teacher = teacher
        self.projector = make_projector(token_dim, hidden, teacher.width)

    def forward(self, views: list[Tensor]) -> Tensor:
        """Loss of one view (B, C, D, S, S), over all tokens."""
        slices = as_rgb_slices(views[0])
        tokens, _ = masked_tokens(self.encoder, slices, self.mask_token, self.ratio)
        student = self.projector(self.encoder.run_blocks(tokens, "patch"))
        return F.mse_loss(student.float(), self.teacher(slices))
