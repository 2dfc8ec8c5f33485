"""The scan against the recurrence as it is written, step by step in float64; its speed against that loop."""

from __future__ import annotations

import time
from functools import partial
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.kernels import selective_scan as module
from SAMoraLib.kernels.selective_scan import selective_scan
from Testing.benchmarks.peak_memory import peak_mb
from Testing.closeness import assert_close

# Sequences and tokens of tp_mamba: 6 x 6 tokens a slice, 96 slices; in the plane of the slice and across slices.
OWN_SHAPES = [(6, 576), (96, 36)]


def step_by_step(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    state, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for t in range(x.shape[1]):
        entering = dt[:, t, :, None] * b[:, t, None, :] * x[:, t, :, None]
        state = torch.exp(dt[:, t, :, None] * a) * state + entering
        outputs.append((state * c[:, t, None, :]).sum(-1))
    return torch.stack(outputs, dim=1) + d * x


def inputs(batch: int, length: int, channels: int, states: int = 16, steps: float = 0.05) -> list[Tensor]:
    generator = torch.Generator().manual_seed(length)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    a = -torch.arange(1, states + 1) * torch.rand(channels, states, generator=generator) * 1.5
    values = [draw(batch, length, channels), steps * F.softplus(3 * draw(batch, length, channels)), a,
              draw(batch, length, states), draw(batch, length, states), draw(channels)]
    return [value.requires_grad_() for value in values]


def outputs_and_gradients(scan: object, values: list[Tensor]) -> list[Tensor]:
    y = scan(*values)  # type: ignore[operator]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y.detach(), *torch.autograd.grad(y, values, weights)]


def assert_exact(values: list[Tensor], scan: object = selective_scan) -> None:
    found = outputs_and_gradients(scan, values)
    expected = outputs_and_gradients(step_by_step, [value.detach().double().requires_grad_() for value in values])
    for own, reference in zip(found, expected, strict=True):
        assert torch.isfinite(own).all()
        assert_close(own, reference.float())


@pytest.mark.parametrize("length", [1, 2, 36, 47, 48, 49, 97, 576, 1000])
def test_any_length(length: int) -> None:
    assert_exact(inputs(2, length, 8))


@pytest.mark.parametrize(("batch", "length"), [*OWN_SHAPES, (1, 3456)])
def test_own_shapes(batch: int, length: int) -> None:
    assert_exact(inputs(batch, length, 32))


def test_parts_of_sequences_and_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    for at_once in (1, 7000, 40_000):  # one channel, some channels, some sequences
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        assert_exact(inputs(5, 60, 12))


@pytest.mark.parametrize(("at_once", "sequences", "channels"), [
    (1, 1, 1), (959, 1, 1), (1920, 1, 2), (7000, 1, 7), (11_520, 1, 12), (23_040, 2, 12), (40_000, 3, 12),
    (10**9, 5, 12)])
def test_as_many_channels_go_at_once_as_a_cache_holds_then_as_many_sequences(
        at_once: int, sequences: int, channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty steps of sixteen states: 960 numbers of each channel."""
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    x, a = torch.empty(5, 60, 12), torch.empty(16, 12)
    assert module._part_size(x, a) == (sequences, channels)
    parts = list(module._parts(x, a))
    assert len(parts) == -(-5 // sequences) * -(-12 // channels)


@pytest.mark.parametrize(("length", "at_once"), [(36, 10**9), (60, 10**9), (97, 7000)])
def test_memory_is_taken_for_the_states_that_are_used_and_no_more(length: int, at_once: int,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    real, used = module._table, {}

    def noted(tables: Tensor, number: int, like: Tensor, states: int) -> Tensor:
        found = real(tables, number, like, states)
        used.setdefault(tuple(tables.shape), set()).add((number, found.numel()))
        return found

    monkeypatch.setattr(module, "_table", noted)
    outputs_and_gradients(selective_scan, inputs(2, length, 5))
    assert sorted(count for count, _ in used) == [3, 4], "forward and backward"
    for (count, size), tables in used.items():
        assert {number for number, _ in tables} == set(range(count))
        assert max(taken for _, taken in tables) == size


@pytest.mark.parametrize(("length", "chunks"), [
    (1, (1, 1)), (48, (1, 48)), (49, (2, 25)), (96, (2, 48)), (97, (3, 33)), (576, (12, 48))])
def test_steps_are_shared_out_evenly(length: int, chunks: tuple[int, int]) -> None:
    assert module._chunks(length) == chunks


@pytest.mark.parametrize("steps", [1e-6, 1.0, 1e3, 1e6])
def test_neither_overflows_nor_forgets(steps: float) -> None:
    """Decays from almost 1 to exp(-1e7): quotients of their products would be infinite."""
    assert_exact(inputs(1, 300, 4, steps=steps))


def test_no_step_and_no_decay() -> None:
    x, dt, a, b, c, d = inputs(1, 100, 3)
    assert_exact([x, torch.zeros_like(dt).requires_grad_(), a, b, c, d])
    assert_exact([x, dt, torch.zeros_like(a).requires_grad_(), b, c, d])


def test_mamba_ssms_kernel_is_not_asked_for_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_mamba_kernel", None)
    assert selective_scan(*inputs(1, 3, 2)).shape == (1, 3, 2)
    assert selective_scan(*(value.detach().double() for value in inputs(1, 3, 2))).dtype == torch.float64


def test_double_precision_stays() -> None:
    values = [value.detach().double().requires_grad_() for value in inputs(2, 100, 4)]
    for own, reference in zip(outputs_and_gradients(selective_scan, values),
                              outputs_and_gradients(step_by_step, values), strict=True):
        assert_close(own, reference)


def test_autocast_does_not_reach_inside() -> None:
    values = inputs(2, 100, 4)
    with torch.autocast("cpu", torch.bfloat16):
        inside = outputs_and_gradients(selective_scan, values)
    for own, reference in zip(inside, outputs_and_gradients(selective_scan, values), strict=True):
        assert_close(own, reference)


def test_the_kernel_is_asked_in_its_own_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """mamba_ssm needs a GPU: a stand-in with its signature says that the layouts agree."""
    def selective_scan_fn(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        assert all(value.is_contiguous() for value in (u, delta, b, c))
        return step_by_step(*(value.transpose(1, 2) for value in (u, delta)), a,
                            *(value.transpose(1, 2) for value in (b, c)), d).transpose(1, 2)

    interface = ModuleType("mamba_ssm.ops.selective_scan_interface")
    interface.selective_scan_fn = selective_scan_fn  # type: ignore[attr-defined]
    for name in ("mamba_ssm", "mamba_ssm.ops"):
        monkeypatch.setitem(__import__("sys").modules, name, ModuleType(name))
    monkeypatch.setitem(__import__("sys").modules, interface.__name__, interface)
    module._mamba_kernel.cache_clear()
    kernel = module._mamba_kernel()
    module._mamba_kernel.cache_clear()
    assert kernel is selective_scan_fn
    values = inputs(2, 50, 4)
    assert_close(module.by_kernel(kernel, *values), step_by_step(*values))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("batch", "length"), OWN_SHAPES)
def test_faster_than_the_published_loop(batch: int, length: int) -> None:
    """All in turn, so that what else runs slows all; the best of each. The leaner loop above is told beside it."""
    values = inputs(batch, length, 384)
    seconds: dict[object, list[float]] = {step_by_step: [], published_loop: [], selective_scan: []}
    for _ in range(3):
        for scan, measured in seconds.items():
            begun = time.perf_counter()
            outputs_and_gradients(scan, values)
            measured.append(time.perf_counter() - begun)
    lean, published, own = (min(measured) for measured in seconds.values())
    memory = {scan: peak_mb(partial(outputs_and_gradients, scan, values), torch.device("cpu")) for scan in seconds}
    print(f"{batch} x {length}: {published / own:.1f} times the published loop's speed, {lean / own:.1f} a lean one's; "
          f"{memory[selective_scan]:.0f} MB, theirs {memory[published_loop]:.0f} and {memory[step_by_step]:.0f}")
    assert published / own >= 3


def published_loop(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """As mamba_ssm's reference goes about it: the decays of all steps, then one after the other."""
    decays = torch.exp(dt.unsqueeze(-1) * a)
    entering = (dt * x).unsqueeze(-1) * b.unsqueeze(-2)
    state, outputs = x.new_zeros(x.shape[0], *a.shape), []
    for t in range(x.shape[1]):
        state = decays[:, t] * state + entering[:, t]
        outputs.append(torch.einsum("ben,bn->be", state, c[:, t]))
    return torch.stack(outputs, dim=1) + d * x
