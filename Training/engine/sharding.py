"""A model spread over the devices (FSDP2) where one device cannot hold it: ViT-H with its optimiser.

Each process keeps a part of every parameter and borrows the others block by block. The whole model stays in the CPU's
memory and gets the weights back, so that a run's files are the same as without. It runs on the CPU, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from lightning_fabric.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer

from SAMoraLib.encoders.block import stacks_in


def sharded_strategy() -> ModelParallelStrategy:
    """lightning-fabric's strategy that spreads what it sets up over all processes."""
    return ModelParallelStrategy(_shard)


def _shard(objective: nn.Module, mesh: DeviceMesh) -> nn.Module:
    everyone = init_device_mesh(mesh.device_type, (mesh.size(),))
    for stack in stacks_in(objective):
        for block in stack.blocks:
            fully_shard(cast("nn.Module", block), mesh=everyone)
    fully_shard(objective, mesh=everyone)
    return objective


@torch.no_grad()
def bring_back(spread: nn.Module, whole: Mapping[str, Tensor]) -> None:
    """Copy parameters and buffers of a spread module to the tensors of the same names; all processes call it."""
    for name, tensor in (*spread.named_parameters(), *spread.named_buffers()):
        if name in whole:
            whole[name].copy_(_whole(tensor))


def optimiser_state(optimiser: Optimizer) -> dict[str, Any]:
    """``state_dict`` with whole tensors, as without sharding; all processes call it."""
    state = optimiser.state_dict()
    whole = {}
    for number, values in state["state"].items():
        whole[number] = {name: _whole(value) for name, value in values.items()}
    return state | {"state": whole}


def load_optimiser_state(optimiser: Optimizer, state: dict[str, Any]) -> None:
    """``load_state_dict`` of whole tensors, spread as the parameters are; all processes call it."""
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    parts = {}
    for number, values in state["state"].items():
        parts[number] = {name: _spread_as(parameters[number], value) for name, value in values.items()}
    optimiser.load_state_dict(state | {"state": parts})


def _whole(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _spread_as(parameter: Tensor, value: Any) -> Any:
    if not isinstance(parameter, DTensor) or not isinstance(value, Tensor) or value.shape != parameter.shape:
        return value  # not sharded, or the optimiser's count of steps
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)
