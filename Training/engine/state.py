"""Whether a saved state is one of this run: what it says is looked through before any of it is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from Training.data.typed import fields, typed

Weights = Mapping[str, Tensor]
Load = Callable[[Optimizer, dict[str, Any]], None]


def require_fitting(state: Mapping[str, Any], trained: Weights, steps: int) -> None:
    """Refuse a state without this run's weights, or of a step beyond its last.

    Raises:
        ValueError: the text is the cause alone.
    """
    said = fields(dict(state), "it", {"step": int, "weights": dict, "best": dict, "optimisers": list})
    if not 0 < said["step"] <= steps:
        raise ValueError(f"its step is {said['step']} of {steps}")
    _require_weights(said["weights"], trained)
    if said["best"]:
        best = fields(said["best"], "best", {"score": float, "step": int, "weights": dict})
        _require_weights(best["weights"], trained)


def _require_weights(weights: Mapping[str, Any], trained: Weights) -> None:
    if different := sorted({str(name) for name in {*weights} ^ {*trained}}):
        raise ValueError(f"it has other weights, first {different[0]!r:.80}")
    for name, tensor in weights.items():
        expected = trained[name]
        if not isinstance(tensor, Tensor) or (tensor.shape, tensor.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"its {name!r:.80} is no tensor of {tuple(expected.shape)} and {expected.dtype}")


def load_optimisers(optimisers: Sequence[Optimizer], states: Sequence[Any], load: Load) -> None:
    """Let ``load`` give each optimiser its state.

    Raises:
        ValueError: they are other optimisers' states. The text is the cause alone.
    """
    if len(states) != len(optimisers):
        raise ValueError(f"it has {len(states)} optimisers instead of {len(optimisers)}")
    for optimiser, state in zip(optimisers, states, strict=True):
        try:
            load(optimiser, typed(state, dict, "an optimiser"))
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ValueError("it is of another optimiser") from error
        for parameter, values in optimiser.state.items():
            if not all(_belongs(value, parameter) for value in values.values()):
                raise ValueError("it is of another optimiser")


def _belongs(value: Any, parameter: Tensor) -> bool:
    """A moment of the parameter's shape, or a count."""
    if isinstance(value, Tensor):
        return value.shape in (parameter.shape, torch.Size())
    return isinstance(value, (int, float)) or value is None
