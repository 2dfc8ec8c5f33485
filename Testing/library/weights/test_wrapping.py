"""State dicts in what training programs put around them, and contents of which it is not clear what they are."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.weights.wrapping import UnclearContent, bare_names, unwrapped

TABLE = {"w_a_000": torch.arange(6.0).view(2, 3), "mask_decoder.iou_token.weight": torch.ones(1, 2),
         "mask_decoder.steps": torch.tensor(3), "mask_decoder.scale": torch.tensor(0.5)}


def prefixed(prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in TABLE.items()}


def adam(named: bool = False) -> dict[str, Any]:
    moments = {"exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3), "step": torch.tensor(3.0)}
    return {"state": {"w" if named else 0: moments}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize("content", [
    TABLE, OrderedDict(TABLE), TABLE | {"epoch": 3}, TABLE | {"epoch": torch.tensor(3), "note": "best", "args": None},
    {"model": TABLE}, {"state_dict": TABLE}, {"model_state_dict": TABLE, "epoch": 159, "best": torch.tensor(0.9)},
    {"state_dict": {"model": TABLE}}, {"checkpoint": {"epoch": 1, "model": {"state_dict": TABLE}}},
    {"model": TABLE, "optimizer": adam(), "scheduler": {"last_epoch": 3, "base_lrs": [0.1]}, "scaler": {"scale": 2.0}},
    {"state_dict": TABLE, "optimizer_states": [adam(named=True)], "loops": {"fit": {"done": 3}}, "hparams": {"lr": 1}},
    {"model": TABLE, "rng_state": torch.zeros(16, dtype=torch.uint8), "config": {"rank": 4}},
    {"model": prefixed("module.")}, prefixed("module."), prefixed("model."), prefixed("_orig_mod."), prefixed("net."),
    prefixed("module._orig_mod."), prefixed("_orig_mod.module."), prefixed("model.module."),
    {"state_dict": prefixed("model._orig_mod."), "epoch": 3},
    {name if name == "w_a_000" else f"module.{name}": value for name, value in TABLE.items()},
    {name.replace("mask_decoder.", "mask_decoder._orig_mod."): value for name, value in TABLE.items()}])
def test_what_is_clear_is_taken_off(content: Any) -> None:
    found = unwrapped(content)
    assert set(found) == set(TABLE)
    assert all(torch.equal(found[name], value) for name, value in TABLE.items())


def test_parameters_come_without_their_gradients() -> None:
    assert not unwrapped({"model": {"w": nn.Parameter(torch.ones(2))}})["w"].requires_grad


def test_a_part_that_is_called_model_keeps_its_name() -> None:
    table = {"model.weight": torch.ones(2), "head.weight": torch.ones(2)}
    assert set(unwrapped(table)) == set(table)


@pytest.mark.parametrize(("content", "sentence"), [
    ([torch.ones(2)], "does not hold a flat table of named tensors but a list; export its state dict first"),
    (torch.ones(2), "but a single tensor"), (3, "but no table"), (None, "but no table"),
    ({}, "nor any tensor"), ({"epoch": 3}, "nor any tensor"), ({"optimizer": adam()}, "nor any tensor"),
    ({3: torch.ones(2)}, "'3' is no name"), ({"weights": [torch.ones(2)]}, "but a list"),
    ({"model": TABLE, "model_ema": TABLE}, "but several tables, 'model' and 'model_ema', and does not say which"),
    ({"model": TABLE, "model_ema": TABLE, "best": TABLE}, "but several tables, 'model' and 'model_ema', and does not"),
    ({"model": TABLE, "w_a_001": torch.ones(2)}, "but a table and tensors beside it, 'model' and 'w_a_001', and"),
    ({"model": {"state_dict": TABLE, "ema": TABLE}}, "but several tables, 'state_dict' and 'ema'"),
    ({"module.a.w": torch.ones(2), "a.b": torch.ones(2)}, "names 1 of its 2 tensors with 'module.' before them, first"),
    ({"a.w": torch.ones(2), "a._orig_mod.w": torch.ones(2)}, "names two tensors alike"),
    ({"module.w": torch.ones(2), "w": torch.ones(2)}, "names two tensors alike")])
def test_what_is_not_clear_is_told(content: Any, sentence: str) -> None:
    with pytest.raises(UnclearContent) as refused:
        unwrapped(content)
    assert sentence in str(refused.value)


def test_names_without_a_dot_alone_are_bare() -> None:
    table = {"w_a_000": torch.ones(2), "w_b_000": torch.ones(2)}
    assert bare_names(table) == table


def test_tables_that_hold_themselves_or_each_other_end() -> None:
    endless: dict[str, Any] = {"model": {"config": {}}}
    endless["model"]["config"]["again"] = endless
    with pytest.raises(UnclearContent, match="nor any tensor"):
        unwrapped(endless)
    shared: dict[str, Any] = {"n": 1}
    for _ in range(99):
        shared = {"a": shared, "b": shared}
    with pytest.raises(UnclearContent, match="nor any tensor"):
        unwrapped(shared)
    assert set(unwrapped({"model": TABLE, "config": shared})) == set(TABLE)
