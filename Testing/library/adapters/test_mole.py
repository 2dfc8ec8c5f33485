"""MoLE: a gate in every block."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from SAMoraLib.adapters.mole import MixtureGate
from SAMoraLib.variants import Fusion
from Testing.closeness import assert_close
from Testing.small import randomise

DIM = 6
STREAMS = torch.randn(3, 2, 4, 5, DIM, generator=torch.Generator().manual_seed(0))


def test_all_experts_weigh_alike_at_the_start() -> None:
    assert_close(MixtureGate(DIM, Fusion(kind="mole"))(STREAMS), STREAMS.mean(dim=0))


@torch.no_grad()
def test_each_image_has_its_own_weights() -> None:
    gate = MixtureGate(DIM, Fusion(kind="mole"))
    randomise(gate, scale=2)
    found = gate(STREAMS)
    for b in range(2):
        scores = torch.zeros(3)
        for expert in range(3):
            tokens = F.layer_norm(STREAMS[expert, b].reshape(-1, DIM), (DIM,))
            scores += gate.gate.weight[:, expert * DIM : (expert + 1) * DIM] @ tokens.mean(dim=0)
        weights = (scores / gate.log_temperature.exp()).softmax(dim=0)
        expected = sum(weights[expert] * STREAMS[expert, b] for expert in range(3))
        assert_close(found[b], expected)
    assert not torch.allclose(found, STREAMS.mean(dim=0), atol=0.05)


def test_gate_and_temperature_are_learnt() -> None:
    gate = MixtureGate(DIM, Fusion(kind="mole"))
    randomise(gate)
    gate(STREAMS).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in gate.parameters())
