"""A package's module that computes otherwise, with its parameters and their names."""

from __future__ import annotations

from typing import Any

from torch import nn


def as_subclass(kind: Any, module: nn.Module) -> Any:
    """The same module under a subclass that only computes differently: nothing is built or drawn twice."""
    new = kind.__new__(kind)
    new.__dict__.update(module.__dict__)
    return new
