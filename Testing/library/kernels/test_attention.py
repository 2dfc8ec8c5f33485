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


@pytest.mark.parametrize(("at_once", "steps"), [
    (1, [(1, 1)] * 21), (70, [(5, 1), (2, 1)] * 3), (83, [(6, 1), (1, 1)] * 3), (84, [(7, 1)] * 3),
    (170, [(7, 2), (7, 1)]), (251, [(7, 2), (7, 1)]), (252, [(7, 3)]), (1 << 20, [(7, 3)])])
def test_no_more_scores_are_computed_at_once_than_asked_for(at_once: int, steps: list[tuple[int, int]],
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries and heads of each product: twelve keys, so that one head of seven queries has 84 scores."""
    monkeypatch.setattr(module, "SCORES", at_once)
    seen: list[tuple[int, ...]] = []
    real = module.in_groups

    def noted(x: Tensor, weights: Tensor) -> Tensor:
        seen.append(tuple(x.shape))
        return real(x, weights)

    monkeypatch.setattr(module, "in_groups", noted)
    q, k, v, places = tensors(7, (3, 4), 3, with_places=True)
    module._in_cache(q, k, v, places)
    # Of two images; each step multiplies with 12 channels of keys, then with the scores of 12 keys.
    assert seen == [(*step, 12) for step in steps for _ in range(2)] * 2


@pytest.mark.parametrize(("many_keys", "as_table"), [(12, False), (13, True)])
def test_the_places_of_few_keys_are_a_table(many_keys: int, as_table: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MANY_KEYS", many_keys)
    monkeypatch.setattr(module, "convolutions_are_faster", lambda _: False)
    real, masks = torch.nn.functional.scaled_dot_product_attention, []

    def noted(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, scale: float) -> Tensor:
        masks.append(attn_mask)
        assert q.shape[-1] == k.shape[-1] == v.shape[-1] <= 12 + 3 + 4, "else torch takes a slower kernel"
        return real(q, k, v, attn_mask=attn_mask, scale=scale)

    monkeypatch.setattr(module.F, "scaled_dot_product_attention", noted)
    attention(*tensors(7, (3, 4), 3, with_places=True))
    q, k, _, _ = tensors(7, (3, 4), 3, with_places=False)
    attention(q, k, k)
    assert [mask is not None for mask in masks] == [as_table, False] and k.shape[-1] == 12


@pytest.mark.parametrize(("queries", "keys", "kind", "slow"), [
    (1024, 1024, torch.bfloat16, True), (1024, 1025, torch.bfloat16, False), (2048, 512, torch.bfloat16, True),
    (1024, 1024, torch.float32, False)])
def test_products_are_written_out_up_to_a_thousand_tokens_in_half_precision(queries: int, keys: int, kind: torch.dtype,
                                                                            slow: bool) -> None:
    q, k = (torch.empty(2, 3, tokens, 4, dtype=kind) for tokens in (queries, keys))
    assert module._is_slow_backward(q, k) == slow
