"""Mamba's selective scan (Gu and Dao 2024, eq. 2), in torch: chunks run side by side, and nothing can overflow.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t,    y_t = C_t h_t + D x_t

Legend: B sequences, L steps, E channels, N states of each channel; n chunks of T steps, n T >= L.
All inside is float32 (or float64), also under autocast: the decays of a long sequence multiply.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 48  # most steps one after the other
AT_ONCE = 1_600_000  # numbers of h at once: four such tables fill a processor's cache, one step keeps two cores busy


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """The output y (B, L, E), by mamba_ssm's kernel where it is installed and x is on a GPU.

    Args:
        x: input (B, L, E).
        dt: step sizes (B, L, E), not negative.
        a: (E, N), not positive, so that every decay lies in [0, 1].
        b, c: what enters and leaves the state, (B, L, N).
        d: the direct way (E,).
    """
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    x, dt, a, b, c, d = (value.to(wide) for value in (x, dt, a, b, c, d))
    kernel = _mamba_kernel() if x.is_cuda and wide == torch.float32 else None
    if kernel is not None:
        return by_kernel(kernel, x, dt, a, b, c, d)
    y: Tensor = _SelectiveScan.apply(x, dt, a.T, b, c, d)
    return y


def by_kernel(kernel: Callable[..., Tensor], x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor
              ) -> Tensor:
    """``selective_scan`` by a function of mamba_ssm's, which wants time last."""
    x, dt, b, c = (value.transpose(1, 2).contiguous() for value in (x, dt, b, c))
    return kernel(x, dt, a, b, c, d).transpose(1, 2)


@cache
def _mamba_kernel() -> Callable[..., Tensor] | None:
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:
        return None
    kernel: Callable[..., Tensor] = selective_scan_fn
    return kernel


class _SelectiveScan(torch.autograd.Function):
    """``selective_scan`` with a as (N, E).

    The states are made again in the backward pass: kept, they were N times as large as the input.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        ctx.save_for_backward(x, dt, a, b, c, d)
        y = torch.empty_like(x)
        tables = _tables(x, a, 3)
        with torch.autocast(x.device.type, enabled=False):
            for part in _parts(x, a):
                inputs = _Inputs.of(part, x, dt, a, b, c, d)
                _, state = _states(tables, inputs)
                y[part] = _sequences(_inner(inputs.c, state).addcmul_(inputs.d, inputs.x), x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        x, dt, a, b, c, d = ctx.saved_tensors
        of_x, of_dt = torch.empty_like(x), torch.empty_like(dt)
        of_a, of_b, of_c, of_d = (torch.zeros_like(value) for value in (a, b, c, d))
        tables = _tables(x, a, 4)
        with torch.autocast(x.device.type, enabled=False):
            for part in _parts(x, a):
                own = _gradients(tables, _steps(grad[part]), _Inputs.of(part, x, dt, a, b, c, d))
                rows, _, columns = part
                of_x[part], of_dt[part] = _sequences(own.x, x), _sequences(own.dt, x)
                of_a[:, columns] += own.a
                of_b[rows] += _sequences(own.b, x)
                of_c[rows] += _sequences(own.c, x)
                of_d[columns] += own.d
        return of_x, of_dt, of_a, of_b, of_c, of_d


# --- Parts: some sequences and channels at a time, so that their states stay in the cache. ---

Part = tuple[slice, slice, slice]  # sequences, all steps, channels


def _part_size(x: Tensor, a: Tensor) -> tuple[int, int]:
    """How many sequences and channels go at once."""
    batch, length, channels = x.shape
    fitting = AT_ONCE // (length * len(a))
    return min(batch, max(1, fitting // channels)), min(channels, max(1, fitting))


def _parts(x: Tensor, a: Tensor) -> Iterator[Part]:
    rows, columns = _part_size(x, a)
    for row in range(0, x.shape[0], rows):
        for column in range(0, x.shape[2], columns):
            yield slice(row, row + rows), slice(None), slice(column, column + columns)


def _tables(x: Tensor, a: Tensor, count: int) -> Tensor:
    """Memory for ``count`` tables of states; fresh memory for every part would cost more than the computation."""
    rows, columns = _part_size(x, a)
    length = math.prod(_chunks(x.shape[1])) + 1
    return x.new_empty(count, length * rows * len(a) * columns)


def _table(tables: Tensor, number: int, like: Tensor, states: int) -> Tensor:
    """Table ``number`` as (steps, B, N, E) for ``like`` (steps, B, E)."""
    steps, rows, columns = like.shape
    return tables[number, :steps * rows * states * columns].view(steps, rows, states, columns)


def _chunks(length: int) -> tuple[int, int]:
    """n and T."""
    chunks = -(-length // CHUNK)
    return chunks, -(-length // chunks)


def _steps(value: Tensor, further: int = 0) -> Tensor:
    """(B, L, c) -> (n T + further, B, c), the steps beyond L zero: nothing enters and nothing decays."""
    length = value.shape[1]
    beyond = math.prod(_chunks(length)) + further - length
    return F.pad(value.transpose(0, 1), (0, 0, 0, 0, 0, beyond)).contiguous()


def _sequences(steps: Tensor, like: Tensor) -> Tensor:
    """The inverse of ``_steps``."""
    return steps[:like.shape[1]].transpose(0, 1)


@dataclass(frozen=True)
class _Inputs:
    """What a part is computed from, or the gradients of it, step by step: x (n T, B, E), dt (n T + 1, B, E), ..."""

    x: Tensor
    dt: Tensor
    a: Tensor
    b: Tensor
    c: Tensor
    d: Tensor

    @classmethod
    def of(cls, part: Part, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> _Inputs:
        rows, _, columns = part
        return cls(_steps(x[part]), _steps(dt[part], further=1), a[:, columns].contiguous(), _steps(b[rows]),
                   _steps(c[rows]), d[columns])


def _inner(vectors: Tensor, table: Tensor) -> Tensor:
    """Sum over the states: (S, B, N) and (S, B, N, E) -> (S, B, E)."""
    return (vectors.unsqueeze(-2) @ table).squeeze(-2)


# --- The recurrence. ---


def _states(tables: Tensor, inputs: _Inputs) -> tuple[Tensor, Tensor]:
    """Decays (n T + 1, B, N, E) and states h (n T, B, N, E)."""
    x, dt, a = inputs.x, inputs.dt, inputs.a
    decay = _decays(dt, a, _table(tables, 0, dt, len(a)))
    state, through = (_table(tables, number, x, len(a)) for number in (1, 2))
    torch.mul((x * dt[:-1]).unsqueeze(-2), inputs.b.unsqueeze(-1), out=state)
    _scan(decay[:-1], state, dt[:-1], a, through)
    return decay, state


def _decays(dt: Tensor, a: Tensor, out: Tensor) -> Tensor:
    return torch.mul(dt.unsqueeze(-2), a * math.log2(math.e), out=out).exp2_()  # three times as fast as exp


def _gradients(tables: Tensor, grad: Tensor, inputs: _Inputs) -> _Inputs:
    """From the gradient of y, (n T, B, E). What flows back to the states is a scan from the end:

    g_t = grad_t C_t + exp(dt_{t+1} A) g_{t+1}
    """
    decay, state = _states(tables, inputs)
    x, dt, a = inputs.x, inputs.dt[:-1], inputs.a
    product, flow = (_table(tables, number, x, len(a)) for number in (2, 3))
    of_c = torch.mul(state, grad.unsqueeze(-2), out=product).sum(-1)
    torch.mul(grad.unsqueeze(-2), inputs.c.unsqueeze(-1), out=flow)
    _scan(decay[1:], flow, inputs.dt[1:], a, product, backwards=True)
    of_b = torch.mul(flow, (x * dt).unsqueeze(-2), out=product).sum(-1)
    entering = _inner(inputs.b, flow)  # of dt x
    # d h_t / d (dt_t A) is what came from the step before, decayed.
    flow.mul_(decay[:-1])[1:].mul_(state[:-1])
    flow[0] = 0
    of_dt = torch.mul(flow, a, out=product).sum(-2).addcmul_(entering, x)
    of_a = torch.mul(flow, dt.unsqueeze(-2), out=product).sum((0, 1))
    return _Inputs(entering.mul_(dt).addcmul_(grad, inputs.d), of_dt, of_a, of_b, of_c, (grad * x).sum((0, 1)))


def _scan(decay: Tensor, state: Tensor, dt: Tensor, a: Tensor, through: Tensor, backwards: bool = False) -> None:
    """h_t = decay_t h_{t-1} + state_t in place along the first dimension (n T), or from the end h_{t+1}.

    Every chunk starts for itself, all of them at once; then each gets what the one before leaves to it, decayed by all
    steps since: exp(A sum dt), at most 1. So nothing overflows, as it would where a scan is made a cumulative sum by
    dividing by the decay since the start.

    Args:
        through: memory for those decays.
    """
    shape = _chunks(len(state))
    decay, state, dt, through = (value.unflatten(0, shape) for value in (decay, state, dt, through))
    one_by_one(decay, state, 1, backwards)
    if shape[0] == 1:
        return
    since = dt.flip(1).cumsum(1).flip(1) if backwards else dt.cumsum(1)
    _decays(since, a, through)
    first = 0 if backwards else -1  # the step of a chunk that the next one goes on from
    one_by_one(through[:, first], state[:, first], 0, backwards)
    to, of = (slice(0, -1), slice(1, None)) if backwards else (slice(1, None), slice(0, -1))
    others = slice(1, None) if backwards else slice(0, -1)
    state[to, others].addcmul_(through[to, others], state[of, first].unsqueeze(1))


def one_by_one(decay: Tensor, state: Tensor, dim: int, backwards: bool = False) -> None:
    """h_t = decay_t h_{t-1} + state_t in place along ``dim``, or from the end h_{t+1}."""
    order = -1 if backwards else 1
    decays, states = (value.unbind(dim)[::order] for value in (decay, state))
    for before, own, after in zip(states[:-1], decays[1:], states[1:], strict=True):
        after.addcmul_(own, before)
