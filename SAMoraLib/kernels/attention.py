"""Softmax attention, with or without SAM's decomposed relative positions, by the fastest way that is exact.

Shapes: B images or windows, N queries and M keys of h heads, c channels each. Tokens stand before heads, as projections
give them. Keys that have places lie on a grid of H x W = M.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.kernels.linear import convolutions_are_faster, in_groups

MANY_KEYS = 512  # from here on torch's attention is faster with the places' scores in q and k than with a table of them
WRITTEN_OUT_TOKENS = 1024  # more, and the kept scores would take gigabytes
SCORES = 1 << 20  # floats that are computed at once: 4 MB stay in a processor's cache
FEW_SCORES = 1 << 18  # fewer per image, and one call for all images is faster

Places = tuple[Tensor, Tensor]  # what a query gives each row (B, N, h, H) and each column (B, N, h, W) of keys


def attention(q: Tensor, k: Tensor, v: Tensor, places: Places | None = None) -> Tensor:
    """softmax(q k^T / sqrt(c) + row + column) v for q (B, N, h, c), k and v (B, M, h, c): (B, N, h, c).

    Where nothing is differentiated, on CPUs with faster convolutions (docs/decisions/0010), these compute as many
    scores at once as a cache holds. Elsewhere torch's fused kernel does; the places' scores go into it as a table where
    keys are few and nothing is differentiated, else within q and k (docs/decisions/0002).
    """
    q = q * q.shape[-1] ** -0.5
    differentiated = tracks_gradients(q, k, v, *(places or ()))
    many = q.shape[1] * q.shape[2] * k.shape[1] >= FEW_SCORES
    if many and not differentiated and convolutions_are_faster(q):
        return _in_cache(q, k, v, places)
    if places is not None and (differentiated or k.shape[1] >= MANY_KEYS or q.device.type != "cpu"):
        q, k, places = torch.cat([q, *places], dim=-1), _with_place(k, places), None
    q, k, v = (tokens.transpose(1, 2) for tokens in (q, k, v))
    if differentiated and _is_slow_backward(q, k):
        return ((q @ k.transpose(-1, -2)).softmax(dim=-1) @ v).transpose(1, 2)
    return _fused(q, k, v, places).transpose(1, 2)


def tracks_gradients(*inputs: Tensor) -> bool:
    """Whether autograd follows them: not what stands before the first trained weight, in training either."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in inputs)


def _in_cache(q: Tensor, k: Tensor, v: Tensor, places: Places | None) -> Tensor:
    """Image by image, some heads and queries at a time, each head a group of a 1 x 1 convolution."""
    (images, queries, heads, _), keys = q.shape, k.shape[1]
    heads_at_once = min(max(SCORES // (queries * keys), 1), heads)
    out = torch.empty(q.shape[:3] + v.shape[3:], dtype=q.dtype)
    for image, head in itertools.product(range(images), _steps(heads, heads_at_once)):
        their_k = k[image, :, head].transpose(0, 1).contiguous()
        their_v = v[image, :, head].permute(1, 2, 0).contiguous()
        for query in _steps(queries, max(SCORES // (heads_at_once * keys), 1)):
            scores = in_groups(q[image, query, head], their_k)
            if places is not None:
                _add_places(scores, *(given[image, query, head] for given in places))
            out[image, query, head] = in_groups(scores.softmax(dim=-1), their_v)
    return out


def _steps(number: int, at_once: int) -> list[slice]:
    return [slice(start, min(start + at_once, number)) for start in range(0, number, at_once)]


def _add_places(scores: Tensor, by_row: Tensor, by_column: Tensor) -> None:
    """Add to scores (N, heads, M), where they lie, what the places give."""
    grid = scores.unflatten(-1, (by_row.shape[-1], by_column.shape[-1]))
    grid.add_(by_row[..., :, None]).add_(by_column[..., None, :])


def _fused(q: Tensor, k: Tensor, v: Tensor, places: Places | None) -> Tensor:
    """torch's kernel on (B, h, N, c) each; it wants v as wide as q and k, hence the padding."""
    bias = None if places is None else _table(*places)
    channels = v.shape[-1]
    v = F.pad(v, (0, max(0, q.shape[-1] - channels)))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)[..., :channels]


def _table(by_row: Tensor, by_column: Tensor) -> Tensor:
    """The score of every query and key by their places: (B, h, N, M)."""
    return (by_row[..., :, None] + by_column[..., None, :]).flatten(3).transpose(1, 2)


def _is_slow_backward(q: Tensor, k: Tensor) -> bool:
    """On a CPU the fused kernel's backward pass in bfloat16 is up to five times slower (windows of 100 tokens) than the
    products written out, which keep their scores for it instead.
    """
    few = q.shape[-2] * k.shape[-2] <= WRITTEN_OUT_TOKENS**2
    return few and q.device.type == "cpu" and q.dtype == torch.bfloat16


def _with_place(k: Tensor, places: Places) -> Tensor:
    """Keys with their row and column as one-hot channels: (B, M, h, c + H + W)."""
    height, width = (scores.shape[-1] for scores in places)
    rows = torch.eye(height, dtype=k.dtype, device=k.device).repeat_interleave(width, dim=0)
    columns = torch.eye(width, dtype=k.dtype, device=k.device).repeat(height, 1)
    return torch.cat([k, torch.cat([rows, columns], dim=1)[:, None].expand(*k.shape[:3], -1)], dim=-1)
