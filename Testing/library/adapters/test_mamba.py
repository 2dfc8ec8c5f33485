"""The Mamba block against a slow and literal writing of it, step by step."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.adapters.mamba import STEPS, Mamba
from Testing.closeness import assert_close
from Testing.small import randomise


def literal(mamba: Mamba, x: Tensor) -> Tensor:
    """One sequence (L, r), figure 3 of the paper: gate, four taps into the past, and the recurrence of 16 states."""
    inner = len(mamba.D)
    values, gate = x @ mamba.in_proj.weight[:inner].T, x @ mamba.in_proj.weight[inner:].T
    padded = torch.cat([values.new_zeros(3, inner), values])
    values = F.silu(mamba.conv1d.bias + sum(padded[tap:tap + len(x)] * mamba.conv1d.weight[:, 0, tap]
                                            for tap in range(4)))
    projected = values @ mamba.x_proj.weight.T
    rank = projected.shape[1] - 32
    steps = F.softplus(projected[:, :rank] @ mamba.dt_proj.weight.T + mamba.dt_proj.bias)
    enter, leave = projected[:, rank:rank + 16], projected[:, rank + 16:]
    state, rows = values.new_zeros(inner, 16), []
    for time in range(len(x)):
        decay = torch.exp(-steps[time][:, None] * mamba.A_log.exp())
        state = decay * state + (steps[time] * values[time])[:, None] * enter[time]
        rows.append(state @ leave[time] + mamba.D * values[time])
    return (torch.stack(rows) * F.silu(gate)) @ mamba.out_proj.weight.T


@pytest.mark.parametrize("dim", [4, 16, 20])
@torch.no_grad()
def test_the_block_is_the_papers_step_by_step(dim: int) -> None:
    torch.manual_seed(0)
    mamba = Mamba(dim)
    randomise(mamba)
    x = torch.randn(2, 7, dim)
    found = mamba(x)
    for sequence, expected in zip(found, (literal(mamba, one) for one in x), strict=True):
        assert_close(sequence, expected)


@pytest.mark.parametrize(("dim", "rank"), [(4, 1), (16, 1), (17, 2), (64, 4)])
def test_tensors_have_mamba_ssms_names_and_shapes(dim: int, rank: int) -> None:
    shapes = {name: tuple(value.shape) for name, value in Mamba(dim).state_dict().items()}
    inner = 2 * dim
    assert shapes == {"A_log": (inner, 16), "D": (inner,), "in_proj.weight": (4 * dim, dim),
                      "conv1d.weight": (inner, 1, 4), "conv1d.bias": (inner,), "x_proj.weight": (rank + 32, inner),
                      "dt_proj.weight": (inner, rank), "dt_proj.bias": (inner,), "out_proj.weight": (dim, inner)}


def test_it_starts_with_the_steps_of_the_paper() -> None:
    torch.manual_seed(0)
    mamba = Mamba(64)
    steps = F.softplus(mamba.dt_proj.bias.detach())
    assert STEPS[0] * 0.99 <= float(steps.min()) < 0.002 and 0.05 < float(steps.max()) <= STEPS[1] * 1.01
    assert torch.equal(mamba.A_log[0].exp().round(), torch.arange(1, 17.0))


def test_step_projections_start_within_the_root_of_their_rank() -> None:
    torch.manual_seed(0)
    weights = Mamba(64).dt_proj.weight.detach()  # rank 4
    assert -0.5 <= float(weights.min()) < -0.48 and 0.48 < float(weights.max()) <= 0.5
    wide = Mamba(256).dt_proj.weight.detach()  # rank 16
    assert -0.25 <= float(wide.min()) < -0.24 and 0.24 < float(wide.max()) <= 0.25
