"""Grad-CAM by hand, and on the models."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.features import Features
from Testing.closeness import assert_close
from Testing.small import IMAGE_SIZE, small_model
from Training.reports.relevance import relevance


@dataclass
class Said:
    low_res_logits: Tensor


class Linear(nn.Module):
    """The embedding is the image and its square; the one organ is three times the first less the second."""

    def __init__(self, background: float = 0.0) -> None:
        super().__init__()
        self.background = background

    def encode(self, image: Tensor) -> Features:
        slices = image[:, :, 0]
        return Features(torch.cat([slices, slices.square()], dim=1))

    def decode(self, features: Features) -> Said:
        organ = 3 * features.embedding[:, :1] - features.embedding[:, 1:]
        return Said(torch.cat([torch.full_like(organ, self.background), organ], dim=1)[:, :, None])


def test_channels_weigh_their_mean_gradient() -> None:
    image = torch.tensor([[[[1.0, 2.0], [4.0, 2.5]]], [[[1.0, 0.5], [0.0, 0.25]]]])
    heat = relevance(Linear(), image)  # type: ignore[arg-type]
    # Found are 1, 2 and 2.5 of the first slice, so that weights are 3 and -1 times 3/4; all of the second but 0.
    organ = (3 * image - image.square())[:, 0].clamp(min=0)
    assert_close(heat, organ / organ.amax(dim=(1, 2), keepdim=True))


def test_where_nothing_is_found_every_place_counts() -> None:
    image = torch.tensor([[[[1.0, 2.0], [4.0, 2.5]]]])
    organ = (3 * image - image.square())[:, 0].clamp(min=0)
    assert_close(relevance(Linear(10.0), image), organ / organ.max())  # type: ignore[arg-type]


def test_what_speaks_against_every_organ_is_no_heat() -> None:
    image = torch.tensor([[[[4.0, 5.0], [6.0, 7.0]]]])
    assert torch.equal(relevance(Linear(), image), torch.zeros(1, 2, 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["samed", "samora", "h_samora", "samora_2"])
def test_a_map_of_every_slice(name: str) -> None:
    image = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
    model = small_model(name)
    heat = relevance(model, image)
    assert heat.shape == (2, IMAGE_SIZE, IMAGE_SIZE) and heat.min() >= 0 and heat.max() <= 1 + 1e-6
    assert heat.std() > 0 and all(parameter.grad is None for parameter in model.parameters())
    assert_close(relevance(model, image[1:]), heat[1:])
