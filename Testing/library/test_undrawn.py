"""Layers without random numbers, and only inside."""

from __future__ import annotations

import torch
from torch import nn

from SAMoraLib.model import build_model
from SAMoraLib.undrawn import Undrawn
from Testing.small import small_variant


def test_nothing_is_drawn_inside_and_everything_after() -> None:
    before = torch.get_rng_state()
    with Undrawn():
        for layer in (nn.Linear(4, 4), nn.Conv2d(2, 2, 3), nn.ConvTranspose2d(2, 2, 2), nn.Embedding(2, 2)):
            assert isinstance(layer.weight, nn.Parameter)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    drawn = nn.Linear(4, 4).weight
    torch.manual_seed(3)
    assert torch.equal(drawn, nn.Linear(4, 4).weight) and drawn.std() > 0


def test_buffers_that_are_no_weights_are_as_always() -> None:
    """What a state does not hold must not be left to chance."""
    with Undrawn():
        model = build_model(small_variant("samora"), 4, 32)
    held = set(model.state_dict())
    expected = dict(build_model(small_variant("samora"), 4, 32).named_buffers())
    for name, buffer in model.named_buffers():
        assert name in held or torch.equal(buffer, expected[name]), name
