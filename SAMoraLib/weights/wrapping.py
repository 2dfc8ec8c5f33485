"""What training programs wrap a state dict in: a table around it, entries beside it, prefixes of its names.

A wrapping is taken off where it is clear what is inside; otherwise the file is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from SAMoraLib.fields import shown
from SAMoraLib.weights.stored import TENSOR_NAME

# Put before every name by DataParallel, torch.compile, and modules that hold the network.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
# Never a network's own: where some names have them and others do not, two files were mixed.
_WRAPPERS = PREFIXES[:2]
_COMPILED = "._orig_mod."  # of a part that was compiled by itself


class UnclearContent(ValueError):
    """It is not clear what the weights in a file are; the text goes on after the file's name."""


def unwrapped(content: Any) -> dict[str, Tensor]:
    """The state dict in what a file holds, under bare names.

    Numbers and text beside it, an optimiser's state, and tensors that are no weights (a counter, a random generator's
    state) are left out.

    Raises:
        UnclearContent: no state dict, or several; the sentence starts with what the file does.
    """
    if not isinstance(content, Mapping):
        raise UnclearContent(f"does not hold a flat table of named tensors but {_described(content)}; export its "
                             "state dict first")
    seen: dict[int, bool] = {}
    inner = [name for name, value in content.items() if not isinstance(value, Tensor) and _holds_weights(value, seen)]
    own = {name: value.detach() for name, value in content.items() if isinstance(value, Tensor)}
    if not inner:
        return bare_names(_flat(own))
    beside = [name for name, value in own.items() if _is_weight(value)]
    if len(inner) > 1 or beside:
        kind = "several tables" if len(inner) > 1 else "a table and tensors beside it"
        one, other = (shown(name) for name in (inner + beside)[:2])
        raise UnclearContent(f"does not hold a flat table of named tensors but {kind}, {one} and {other}, and does not "
                             "say which is meant; save one of them alone")
    return unwrapped(content[inner[0]])


def _flat(own: Mapping[Any, Tensor]) -> dict[str, Tensor]:
    if not own:
        raise UnclearContent("does not hold a flat table of named tensors, nor any tensor; give a weights file")
    if unnamed := [name for name in own if not TENSOR_NAME.holds(name)]:
        raise UnclearContent(f"does not hold a flat table of named tensors: {shown(str(unnamed[0]))} is no name; "
                             "export its state dict first")
    return {name: value for name, value in own.items() if not _is_counter(name, value)}


def bare_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what a training program put before all of them; those without a dot may lack it.

    Raises:
        UnclearContent: only some have it, or two tensors would get one name.
    """
    bare = {name: name.replace(_COMPILED, ".") for name in tensors}
    while prefix := _of_all(bare.values()):
        bare = {name: short.removeprefix(prefix) for name, short in bare.items()}
    for wrapper in _WRAPPERS:
        if with_it := [name for name, short in bare.items() if short.startswith(wrapper)]:
            raise UnclearContent(f"names {len(with_it)} of its {len(bare)} tensors with '{wrapper}' before them, first "
                                 f"'{with_it[0]}', and the others without; save the state dict of one module alone")
    if len(set(bare.values())) < len(bare):
        raise UnclearContent("names two tensors alike but for what training programs put before names; save the state "
                             "dict of one module alone")
    return {bare[name]: value for name, value in tensors.items()}


def _of_all(names: Any) -> str:
    """The prefix that every name with a dot has, if there is one."""
    dotted = [name for name in names if "." in name]
    for prefix in PREFIXES:
        if dotted and all(name.startswith(prefix) for name in dotted):
            return prefix
    return ""


def _holds_weights(value: Any, seen: dict[int, bool]) -> bool:
    """Whether there are weights anywhere in ``value``; an optimiser's state does not count.

    Args:
        seen: the answer for tables and lists by their id, as a file may let them hold each other.
    """
    if isinstance(value, Tensor):
        return _is_weight(value)
    if id(value) not in seen and isinstance(value, Mapping | list | tuple):
        seen[id(value)] = False
        inner = value.values() if isinstance(value, Mapping) else value
        is_optimiser = isinstance(value, Mapping) and "param_groups" in value
        seen[id(value)] = not is_optimiser and any(_holds_weights(one, seen) for one in inner)
    return seen.get(id(value), False)


def _is_weight(value: Tensor) -> bool:
    return value.ndim > 0 and (value.is_floating_point() or value.is_complex())


def _is_counter(name: str, value: Tensor) -> bool:
    return "." not in name and value.ndim == 0 and value.dtype in (torch.int64, torch.int32, torch.bool)


def _described(content: Any) -> str:
    return {"Tensor": "a single tensor", "list": "a list", "tuple": "a list"}.get(type(content).__name__, "no table")
