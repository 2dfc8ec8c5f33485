"""A module under another class: the same parameters, and nothing of what is added later."""

from __future__ import annotations

import torch
from torch import nn

from SAMoraLib.packages.subclassed import as_subclass, take_over


class Doubled(nn.Linear):
    """Computes otherwise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


class Extended(nn.Linear):
    """Adds a layer of its own."""

    def __init__(self, linear: nn.Linear) -> None:
        take_over(self, linear)
        self.further = nn.Linear(3, 3)


def test_the_parameters_are_the_same_objects_under_the_same_names() -> None:
    plain = nn.Linear(5, 9)
    ours = as_subclass(Doubled, plain)
    assert ours.weight is plain.weight and ours.bias is plain.bias
    assert list(ours.state_dict()) == ["weight", "bias"]
    assert (ours.in_features, ours.out_features, ours.training) == (5, 9, True)
    x = torch.randn(2, 5)
    assert torch.equal(ours(x), 2 * plain(x))


def test_nothing_is_drawn() -> None:
    plain, before = nn.Linear(5, 9), torch.get_rng_state()
    as_subclass(Doubled, plain)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_added_stays_with_the_new_one() -> None:
    plain = nn.Linear(5, 9)
    ours = Extended(plain)
    ours.register_buffer("count", torch.zeros(1))
    ours.offset = nn.Parameter(torch.zeros(1))
    assert {"further.weight", "further.bias", "count", "offset"} < set(ours.state_dict())
    assert list(plain.state_dict()) == ["weight", "bias"]
