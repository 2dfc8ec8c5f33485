"""A small network whose batch two processes share; apart from the tests, so that those import nothing but torch."""

from __future__ import annotations

from datetime import timedelta

import torch
from torch import distributed, nn

from Training.objectives.nt_xent import nt_xent

BATCH, CHANNELS, WORLD = 6, 10, 2


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(CHANNELS, 16), nn.GELU(), nn.Linear(16, 8)).double()


def views() -> tuple[torch.Tensor, torch.Tensor]:
    first, second = torch.randn(2, BATCH, CHANNELS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return first, second


def one_of_two(rank: int, folder: str) -> None:
    """Every second slice, as the loop shares them out; the gradients' mean is what DistributedDataParallel takes."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD,
                                   timeout=timedelta(seconds=60))
    try:
        module = network()
        first, second = (view[rank::WORLD] for view in views())
        projected = module(torch.cat([first, second]))
        loss = nt_xent(*projected.chunk(2), 0.2)
        loss.backward()
        gradients = [parameter.grad for parameter in module.parameters()]
        for value in (loss.data, *gradients):
            distributed.all_reduce(value)
        means = {"loss": loss.detach() / WORLD, "gradients": [gradient / WORLD for gradient in gradients]}
        torch.save(means, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()
