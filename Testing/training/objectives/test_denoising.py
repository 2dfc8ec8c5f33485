"""The pixel level: a clean slice is rebuilt from what the encoder keeps of a noisy one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE
from Training.objectives.denoising import DenoisingObjective, image_dice


class Pooled(nn.Module):
    """An encoder that keeps nothing but the mean of each patch, in as many channels as it is asked for."""

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.patch, self.channels = patch, channels
        self.asked: list[str | None] = []

    def forward(self, slices: Tensor, adapter: str | None = None) -> Tensor:
        self.asked.append(adapter)
        return F.avg_pool2d(slices[:, 1:2], self.patch).expand(-1, self.channels, -1, -1)


def objective_on(patch: int, channels: int, *more: Any) -> DenoisingObjective:
    torch.manual_seed(0)
    return DenoisingObjective(cast("Encoder", Pooled(patch, channels)), channels, patch, *more)


def expert_model() -> SegmentationModel:
    torch.manual_seed(0)
    variant = get_variant("samed", adapters=("pixel",), trained=("lora",), encoder_size=SIZE)
    model = build_model(variant, 1, 32)
    train_only(model, expert_keys(model, "pixel"))
    return model


def test_denoising_rebuilds_at_the_slice_size() -> None:
    model = expert_model()
    objective = DenoisingObjective(model.image_encoder, 32, 8)
    assert objective.decoder(model.image_encoder(torch.rand(2, 3, 32, 32), "pixel")).shape == (2, 1, 32, 32)


@pytest.mark.parametrize(("patch", "channels"), [(2, 64), (4, 96), (16, 256)])
def test_every_patch_size_is_rebuilt_whole(patch: int, channels: int) -> None:
    objective = objective_on(patch, channels)
    assert objective.decoder(objective.encoder(torch.rand(1, 3, 32, 32), "pixel")).shape == (1, 1, 32, 32)


def test_the_channels_halve_with_every_doubling() -> None:
    ups = [module for module in objective_on(16, 256).decoder.modules() if isinstance(module, nn.ConvTranspose2d)]
    assert len(ups) == 4
    assert all(up.in_channels == 2 * up.out_channels for up in ups)
    assert all(before.out_channels == after.in_channels for before, after in pairwise(ups))


def test_an_image_is_normalised_as_a_whole() -> None:
    """Normalised by halves, the brighter channels could not be told from the others."""
    [norm] = [module for module in objective_on(2, 64).decoder.modules() if isinstance(module, nn.GroupNorm)]
    tokens = torch.randn(1, 32, 4, 4, generator=torch.Generator().manual_seed(1))
    tokens[:, :16] += 10
    first, second = (half.mean().item() for half in norm(tokens).chunk(2, dim=1))
    assert first > 0.9 and second < -0.9 and abs(first + second) < 1e-4


def test_the_noisy_slice_is_encoded_by_the_pixel_expert() -> None:
    objective = objective_on(4, 64)
    noisy, clean = torch.rand(2, 1, 1, 1, 32, 32)
    loss = objective([noisy, clean])
    assert cast("Pooled", objective.encoder).asked == ["pixel"]
    rebuilt = objective.decoder(F.avg_pool2d(noisy[:, 0], 4).expand(-1, 64, -1, -1))
    assert_close(loss, F.mse_loss(rebuilt, clean[:, 0]))


def test_the_loss_is_the_squared_error_if_nothing_else_is_said() -> None:
    views = list(torch.rand(2, 1, 1, 1, 32, 32))
    assert torch.equal(objective_on(4, 64)(views), objective_on(4, 64, 0.0)(views))
    assert not torch.isclose(objective_on(4, 64)(views), objective_on(4, 64, 1.0)(views))


def test_denoising_compares_with_the_slice_itself_not_its_neighbours() -> None:
    objective = DenoisingObjective(expert_model().image_encoder, 32, 8)
    noisy, clean = torch.rand(2, 2, 3, 1, 32, 32)
    others = clean.clone()
    others[:, [0, 2]] += 1
    assert torch.equal(objective([noisy, clean]), objective([noisy, others]))
    assert not torch.equal(objective([noisy, clean]), objective([noisy, clean + 1]))


def test_the_dice_of_images_is_a_relative_squared_error() -> None:
    rebuilt, clean = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    relative = (rebuilt - clean).square().sum() / (rebuilt.square() + clean.square()).sum()
    assert_close(image_dice(rebuilt, clean), relative)
    assert_close(image_dice(clean, clean), 0.0, scale=1.0)
    assert image_dice(torch.zeros_like(clean), torch.zeros_like(clean)).item() == 0  # black on black


def test_the_dice_of_a_white_image_on_a_black_one_is_one() -> None:
    white = torch.ones(1, 1, 8, 8)
    assert_close(image_dice(white, torch.zeros_like(white)), 1.0)
    assert_close(image_dice(torch.zeros_like(white), white), 1.0)


@pytest.mark.parametrize("weight", [0.9, 0.5, 1.0])
def test_the_supplements_denoising_loss_weighs_dice_and_error(weight: float) -> None:
    objective = DenoisingObjective(expert_model().image_encoder, 32, 8, dice_weight=weight)
    noisy, clean = torch.rand(2, 2, 1, 1, 32, 32)
    loss = objective([noisy, clean])
    rebuilt = objective.decoder(objective.encoder(noisy[:, 0].expand(-1, 3, -1, -1), "pixel")).sigmoid()
    expected = weight * image_dice(rebuilt, clean[:, 0]) + (1 - weight) * F.mse_loss(rebuilt, clean[:, 0])
    assert_close(loss, expected)
