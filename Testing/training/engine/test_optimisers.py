"""Which optimiser moves which parameter."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from Testing.closeness import assert_close
from Training.engine.optimisers import make_optimisers
from Training.settings.optimisation import Optimisation
from Training.settings.schedule import Schedule


def objective() -> nn.Module:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    module[4].weight.requires_grad_(False)
    return module


def moved(optimiser: torch.optim.Optimizer) -> list[int]:
    return [id(parameter) for group in optimiser.param_groups for parameter in group["params"]]


def test_adamw_moves_everything_that_is_trained() -> None:
    module = objective()
    [adamw] = make_optimisers(module, Optimisation())
    assert sorted(moved(adamw)) == sorted(id(p) for p in module.parameters() if p.requires_grad)


def test_one_kernel_for_a_parameter_steps_as_torchs_own_loop() -> None:
    """Also from a state that was saved before there was the kernel."""
    ours, theirs = objective(), objective()
    [fused] = make_optimisers(ours, Optimisation())
    loop = torch.optim.AdamW([p for p in theirs.parameters() if p.requires_grad], fused.defaults["lr"],
                             weight_decay=0.1, fused=False, foreach=False)
    assert fused.defaults["fused"]
    for step in range(4):
        if step == 2:
            fused.load_state_dict(copy.deepcopy(loop.state_dict()))
        for module, optimiser in ((ours, fused), (theirs, loop)):
            optimiser.zero_grad()
            module(torch.linspace(-1, 1, 16).view(1, 1, 4, 4)).square().sum().backward()
            optimiser.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(one, other)


def test_muon_moves_the_matrices_of_linear_layers_and_adamw_the_rest() -> None:
    module = objective()
    muon, adamw = make_optimisers(module, Optimisation(optimiser="muon"))
    assert moved(muon) == [id(module[2].weight)]
    assert sorted(moved(adamw)) == sorted(id(p) for p in module.parameters()
                                          if p.requires_grad and p is not module[2].weight)


def test_muons_step_is_as_large_as_adamws_and_orthogonal() -> None:
    module = nn.Linear(64, 64, bias=False)
    before = module.weight.detach().clone()
    [muon] = make_optimisers(module, Optimisation(optimiser="muon", weight_decay=0.0,
                                                  schedule=Schedule(base_lr=0.01)))
    module.weight.grad = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))
    muon.step()
    step = module.weight.detach() - before
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.2)
    values = torch.linalg.svdvals(step)
    assert values.max() < 2.5 * values.min()  # a plain gradient's lie a hundredfold apart


def test_lars_adapts_kernels_and_leaves_biases_and_norms_to_plain_sgd() -> None:
    module = objective().double()  # a small step is the difference of two large numbers
    rate = Optimisation(optimiser="lars", weight_decay=1e-4, schedule=Schedule(base_lr=0.5))
    [lars] = make_optimisers(module, rate)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    lars.step()
    weight, moved_by = before["0.weight"], before["0.weight"] - module[0].weight
    gradient = torch.ones_like(weight) + 1e-4 * weight
    trust = 0.001 * weight.norm() / (torch.ones_like(weight).norm() + 1e-4 * weight.norm())
    assert_close(moved_by, 0.5 * trust * gradient, tolerance=1e-6)
    assert_close(before["3.weight"] - module[3].weight, torch.full((8,), 0.5, dtype=torch.float64))
    assert torch.equal(before["4.weight"], module[4].weight)


def test_a_torch_without_muon_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(ValueError, match=r"has no Muon; install torch 2\.9"):
        make_optimisers(objective(), Optimisation(optimiser="muon"))


@pytest.mark.parametrize(("version", "fused"), [("2.3.1", None), ("2.4.0", True), ("2.13.0+cpu", True), ("3.0.0", True),
                                                ("1.13.1", None)])
def test_one_kernel_is_taken_from_torch_2_4_on(version: str, fused: bool | None,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", version)
    [adamw] = make_optimisers(nn.Linear(2, 2, bias=False), Optimisation())
    assert adamw.defaults["fused"] is fused


def test_adamw_takes_what_it_is_told() -> None:
    [adamw] = make_optimisers(objective(), Optimisation(betas=(0.5, 0.6), weight_decay=0.3,
                                                        schedule=Schedule(base_lr=0.07)))
    assert {name: adamw.defaults[name] for name in ("betas", "weight_decay", "lr")} == {
        "betas": (0.5, 0.6), "weight_decay": 0.3, "lr": 0.07}


def test_muon_needs_no_adamw_where_there_are_matrices_alone_and_the_other_way_round() -> None:
    assert [type(one).__name__ for one in make_optimisers(nn.Linear(4, 4, bias=False), Optimisation(optimiser="muon"))
            ] == ["Muon"]
    assert [type(one).__name__ for one in make_optimisers(nn.Conv2d(1, 4, 3), Optimisation(optimiser="muon"))
            ] == ["AdamW"]


def test_lars_moves_everything_that_is_trained() -> None:
    module = objective()
    [lars] = make_optimisers(module, Optimisation(optimiser="lars"))
    kernels, vectors = lars.param_groups
    assert [id(p) for p in kernels["params"]] == [id(module[0].weight), id(module[2].weight)]
    assert [id(p) for p in vectors["params"]] == [id(module[0].bias), id(module[2].bias), id(module[3].weight),
                                                  id(module[3].bias), id(module[4].bias)]


def test_lars_keeps_the_first_of_the_two_momentum_terms() -> None:
    module = nn.LayerNorm(3).double()
    [lars] = make_optimisers(module, Optimisation(optimiser="lars", betas=(0.5, 0.9), schedule=Schedule(base_lr=0.1)))
    for gradient, moved_to in ((1.0, 0.9), (0.0, 0.85)):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        lars.step()
        assert_close(module.weight, torch.full((3,), moved_to, dtype=torch.float64), tolerance=1e-6)
