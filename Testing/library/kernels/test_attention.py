"""Attention written out is the oracle of each way to compute it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from SAMoraLib.kernels import attention as module
from SAMoraLib.kernels.attention import Places, attention
from Testing.closeness import assert_close


def written_out(q: Tensor, k: Tensor, v: Tensor, places: Places | None) -> Tensor:
    scores = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(q.shape[-1])
    if places is not None:
        by_row, by_column = (given.transpose(1, 2) for given in places)
        scores = scores + (by_row[..., :, None] + by_column[..., None, :]).flatten(3)
    return torch.einsum("bhnm,bmhc->bnhc", scores.softmax(dim=-1), v)


def tensors(queries: int, grid: tuple[int, int], heads: int, with_places: bool
            ) -> tuple[Tensor, Tensor, Tensor, Places | None]:
    """Two images; values of other channels than queries and keys."""
    generator = torch.Generator().manual_seed(1)
    keys = math.prod(grid)
    q, k, v = (torch.randn(2, tokens, heads, channels, generator=generator)
               for tokens, channels in ((queries, 12), (keys, 12), (keys, 8)))
    by_row, by_column = (torch.randn(2, queries, heads, side, generator=generator) for side in grid)
    return q, k, v, (by_row, by_column) if with_places else None


@pytest.mark.parametrize("with_places", [False, True])
@pytest.mark.parametrize("differentiated", [False, True])
@pytest.mark.parametrize("at_once", [1, 70, 170, 1 << 20])  # one query of a head; some; two heads; all
@pytest.mark.parametrize("by_convolution", [False, True])
@pytest.mark.parametrize("many_keys", [1, 1 << 20])
def test_every_way_gives_the_same(many_keys: int, by_convolution: bool, at_once: int, differentiated: bool,
                                  with_places: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEW_SCORES", 0)
    monkeypatch.setattr(module, "MANY_KEYS", many_keys)
    monkeypatch.setattr(module, "SCORES", at_once)
    monkeypatch.setattr(module, "convolutions_are_faster", lambda _: by_convolution)
    q, k, v, places = tensors(7, (3, 4), 3, with_places)
    expected = written_out(q, k, v, places)
    found = attention(q.requires_grad_(differentiated), k, v, places)
    assert found.requires_grad == differentiated
    assert_close(found, expected)


def test_few_scores_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "convolutions_are_faster", lambda _: True)
    monkeypatch.setattr(module, "_in_cache", lambda *_: "in the cache")
    q, k, v, places = tensors(7, (3, 4), 3, with_places=True)
    assert isinstance(attention(q, k, v, places), Tensor)
    monkeypatch.setattr(module, "FEW_SCORES", 7 * 12 * 3)
    assert attention(q, k, v, places) == "in the cache"


@pytest.mark.parametrize("tokens", [9, 1025])
def test_half_precision_is_the_same_with_and_without_gradients(tokens: int) -> None:
    q, k, v, _ = tensors(tokens, (1, tokens), 2, with_places=False)
    exact = attention(q, k, v)
    half = [x.to(torch.bfloat16) for x in (q, k, v)]
    used, trained = attention(*half), attention(half[0].requires_grad_(), *half[1:])
    assert trained.requires_grad and trained.dtype == used.dtype == torch.bfloat16
    assert_close(trained, used, tolerance=0.03, scale=v)
    assert_close(trained.float(), exact, tolerance=0.03, scale=v)
