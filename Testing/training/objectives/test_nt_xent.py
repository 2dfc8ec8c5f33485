"""NT-Xent over several processes is the loss of the whole batch."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import distributed, multiprocessing

from Testing.closeness import assert_close
from Testing.training.objectives.shared_batch import WORLD, network, one_of_two, views
from Training.objectives.nt_xent import nt_xent
from Training.objectives.processes import gathered


def test_two_processes_have_the_loss_and_gradients_of_one(tmp_path: Path) -> None:
    if not distributed.is_available() or not distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    multiprocessing.spawn(one_of_two, (str(tmp_path),), WORLD)
    module = network()
    loss = nt_xent(*(module(view) for view in views()), 0.2)
    loss.backward()
    for rank in range(WORLD):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert_close(found["loss"], loss)
        for gradient, parameter in zip(found["gradients"], module.parameters(), strict=True):
            assert_close(gradient, parameter.grad)


def test_alone_nothing_is_gathered() -> None:
    rows = torch.rand(2, 3)
    assert gathered(rows) == (rows, 0)


def test_nt_xent_against_its_definition() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(4, 8), torch.randn(4, 8)
    views = [F.normalize(view, dim=0) for view in (*first, *second)]
    total = 0.0
    for i in range(8):
        j = (i + 4) % 8
        similarity = [math.exp(float(views[i] @ views[k]) / 0.5) for k in range(8)]
        total -= math.log(similarity[j] / (sum(similarity) - similarity[i]))
    assert_close(nt_xent(first, second, 0.5), total / 8)


def test_equal_views_are_the_best_and_shuffled_ones_are_not() -> None:
    views = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    assert nt_xent(views, views, 0.2) < nt_xent(views, views.roll(1, 0), 0.2)
