"""NaN, infinities and what is no plain number are found, and everything else passes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from SAMoraLib.weights.finite import PLAIN, not_finite, require_finite
from Testing.refusals import refusal

FLOATS = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
BAD = pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])


@FLOATS
@BAD
@pytest.mark.parametrize("at", [0, 57, 119])
def test_one_bad_value_is_found_wherever_it_is(dtype: torch.dtype, bad: float, at: int) -> None:
    value = torch.arange(120.0).to(dtype)
    value[at] = bad
    assert not_finite(value) == not_finite(value.view(3, 40).t()) == 1


@FLOATS
def test_finite_numbers_pass_also_where_their_sum_is_infinite(dtype: torch.dtype) -> None:
    largest = min(torch.finfo(dtype).max, torch.finfo(torch.float32).max)
    for value in (torch.full((9,), largest, dtype=dtype), torch.zeros(0, dtype=dtype), torch.tensor(2, dtype=dtype),
                  torch.tensor([largest, -largest], dtype=dtype)):
        assert not_finite(value) == 0


def test_infinities_that_cancel_are_found() -> None:
    assert not_finite(torch.tensor([math.inf, -math.inf, 1])) == 2


def test_what_float32_cannot_hold_is_not_finite() -> None:
    assert not_finite(torch.tensor([1e300, 1.0], dtype=torch.float64)) == 1


def test_the_sentence_names_the_first_tensor_and_counts_all() -> None:
    tensors = {"good": torch.ones(3), "one": torch.tensor([1, math.nan]), "two": torch.full((2, 2), math.inf)}
    assert refusal(lambda: require_finite("w.pth", tensors)).startswith(
        "'w.pth' holds 5 values that are NaN or infinite as float32, in 2 of its tensors, first 'one'; ")


def test_one_value_is_told_in_the_singular() -> None:
    message = refusal(lambda: require_finite("w.pth", {"one": torch.tensor([1, math.nan])}))
    assert message.startswith("'w.pth' holds 1 value that is NaN or infinite as float32, in 1 of its tensors")


@pytest.mark.parametrize("dtype", PLAIN)
def test_plain_numbers_of_every_type_pass(dtype: torch.dtype) -> None:
    require_finite("w.pth", {"w": torch.tensor([0, 1]).to(dtype), "empty": torch.zeros(0, 3).to(dtype)})


@pytest.mark.parametrize(("value", "what"), [
    (torch.ones(2, dtype=torch.complex64), "complex numbers (complex64)"),
    (torch.ones(2, dtype=torch.complex128), "complex numbers (complex128)"),
    (torch.ones(2, 2).to_sparse(), "a sparse table"),
    (torch.ones(2, device="meta"), "a shape without values"),
    (torch.ones(2).to(torch.float8_e4m3fn), "numbers of the type float8_e4m3fn")])
def test_what_is_no_plain_number_is_refused(value: Tensor, what: str) -> None:
    message = refusal(lambda: require_finite("w.pth", {"first": torch.ones(1), "second": value}))
    assert f"holds {what} in 'second', where real numbers belong" in message
