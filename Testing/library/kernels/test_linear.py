"""Products by oneDNN: what ``nn.Linear`` gives, in every shape, with gradients."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from SAMoraLib.kernels import linear
from SAMoraLib.kernels.linear import (
    Linear,
    as_convolution,
    in_groups,
    multiply_in_int8,
    product,
    replace_linears,
)
from Testing.closeness import assert_close

SHAPES = [(5,), (7, 5), (2, 3, 5), (2, 14, 14, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [False, True])
def test_a_convolution_is_the_product(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 9, bias=bias), torch.randn(shape, requires_grad=True)
    found, expected = as_convolution(x, layer.weight, layer.bias), layer(x)
    assert_close(found, expected)
    assert found.is_contiguous()
    parameters = [x, *layer.parameters()]
    for ours, theirs in zip(torch.autograd.grad(found.square().sum(), parameters),
                            torch.autograd.grad(expected.square().sum(), parameters), strict=True):
        assert_close(ours, theirs)


def test_a_strided_input_is_read_as_it_is() -> None:
    x, weight = torch.randn(6, 4, 5).transpose(0, 1), torch.randn(9, 5)
    assert_close(as_convolution(x, weight), F.linear(x, weight))


def test_the_plain_ones_of_a_module_become_ours() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ModuleList([nn.Linear(4, 5)]), nn.TransformerEncoderLayer(4, 2))
    before, shapes = dict(module.named_parameters()), {key: value.shape for key, value in module.state_dict().items()}
    replace_linears(module)
    assert {key: value.shape for key, value in module.state_dict().items()} == shapes
    assert all(value is before[key] for key, value in module.named_parameters())
    kinds = {name: type(part) for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    assert {name for name, kind in kinds.items() if kind is Linear} == {"0", "1.0", "2.linear1", "2.linear2"}
    assert kinds["2.self_attn.out_proj"] is not Linear, "a subclass may compute otherwise"


@pytest.mark.parametrize(("x", "asked"), [
    (torch.randn(64, 5), True),
    (torch.randn(63, 5), False),  # too few rows
    (torch.randn(64, 5, dtype=torch.float64), False),
    (torch.randn(64, 5, dtype=torch.bfloat16), False),
])
def test_only_what_mkl_is_slow_at_becomes_a_convolution(x: torch.Tensor, asked: bool, monkeypatch: pytest.MonkeyPatch
                                                        ) -> None:
    calls = []
    monkeypatch.setattr(linear, "processor_is_half_used", lambda: True)
    monkeypatch.setattr(linear, "as_convolution", lambda *given: calls.append(1) or F.linear(*given))
    weight = torch.randn(9, 5, dtype=x.dtype)
    assert torch.equal(product(x, weight), F.linear(x, weight))
    assert bool(calls) == asked
    with torch.autocast("cpu", torch.bfloat16):
        product(x, weight)
    assert len(calls) == asked, "bfloat16 is oneDNN's anyway"


def test_other_processors_keep_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "processor_is_half_used", lambda: False)
    monkeypatch.setattr(linear, "as_convolution", lambda *given: pytest.fail("asked"))
    product(torch.randn(64, 5), torch.randn(9, 5))


@pytest.mark.parametrize(("rows", "groups", "out", "channels"), [(5, 3, 4, 2), (1, 2, 7, 3), (6, 1, 2, 5)])
def test_groups_are_multiplied_each_with_its_own(rows: int, groups: int, out: int, channels: int) -> None:
    torch.manual_seed(0)
    x, weights = torch.randn(rows, groups, channels), torch.randn(groups, out, channels)
    found = in_groups(x, weights)
    assert found.shape == (rows, groups, out)
    for group in range(groups):
        assert_close(found[:, group], F.linear(x[:, group], weights[group]))


def test_layers_of_few_weights_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "FEW_WEIGHTS", 12)
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(11, 1), nn.Conv1d(4, 4, 3))
    replace_linears(module)
    multiply_in_int8(module)
    assert [layer.int8 is not None for layer in module if isinstance(layer, Linear)] == [True, False]


AMD, INTEL = "vendor_id\t: AuthenticAMD\n", "vendor_id\t: GenuineIntel\n"


@pytest.mark.parametrize(("listed", "named", "capability", "has_onednn", "expected"), [
    (AMD, "", "AVX512", True, True), (INTEL, "AuthenticAMD", "AVX512", True, False), (AMD, "", "AVX2", True, False),
    (AMD, "", "AVX512", False, False), (None, "AMD64 Family 25, AuthenticAMD", "AVX512", True, True),
    (None, "Intel64 Family 6, GenuineIntel", "AVX512", True, False)])
def test_half_used_are_amds_with_avx_512(listed: str | None, named: str, capability: str, has_onednn: bool,
                                         expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if listed is not None:
        (tmp_path / "cpuinfo").write_text(listed, encoding="utf-8")
    monkeypatch.setattr(linear, "Path", {"/proc/cpuinfo": tmp_path / "cpuinfo"}.__getitem__)
    monkeypatch.setattr(platform, "processor", lambda: named)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: has_onednn)
    assert linear.processor_is_half_used.__wrapped__() == expected
