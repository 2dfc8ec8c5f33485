"""Products of 8-bit integers: what the rounding costs and nothing more, and no processor that overflows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from SAMoraLib.kernels import int8, linear
from SAMoraLib.kernels.int8 import int8_product, multiplies_int8, quantized
from SAMoraLib.kernels.linear import Linear, multiply_in_int8
from SAMoraLib.model import build_model
from SAMoraLib.variants import VARIANTS, get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE, small_model

exact_products = pytest.mark.skipif(not multiplies_int8(), reason="no exact products of 8-bit integers here")


@exact_products
@pytest.mark.parametrize("shape", [(5, 32), (2, 3, 7, 32), (1, 32)])
@pytest.mark.parametrize("bias", [False, True])
def test_numbers_of_8_bits_are_multiplied_exactly(shape: tuple[int, ...], bias: bool) -> None:
    """Each row's largest magnitude is 127 steps of its scale: nothing is quantized, whatever the scales are."""
    torch.manual_seed(0)
    x = torch.randint(-126, 127, shape).float()
    weight = torch.randint(-126, 127, (9, 32)).float()
    x[..., 0], weight[:, 1] = 127, -127
    x, weight = x * 2.0 ** torch.randint(-20, 20, (*shape[:-1], 1)), weight * 2.0 ** torch.randint(-20, 20, (9, 1))
    offset = torch.randn(9) if bias else None
    found = int8_product(x, quantized(weight), offset)
    expected = F.linear(x.double(), weight.double(), None if offset is None else offset.double()).float()
    assert_close(found / expected, torch.ones_like(expected), tolerance=1e-6)  # one rounding, whatever the magnitude


@exact_products
def test_other_numbers_lose_half_a_step_each(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr(int8, "AT_ONCE", 1000)  # ten rows
    x, weight = torch.randn(64, 40) * torch.logspace(-3, 3, 64)[:, None], torch.randn(60, 40)
    x[7] = 0
    found = int8_product(x, quantized(weight))
    step_x, step_w = x.abs().amax(1, keepdim=True) / 127, weight.abs().amax(1) / 127
    bound = (step_x * weight.abs().sum(1) + step_w * x.abs().sum(1, keepdim=True)) / 2 + 40 / 4 * step_x * step_w
    assert ((found - x @ weight.T).abs() <= bound * 1.001).all()
    assert (found[7] == 0).all()
    assert (found - x @ weight.T).norm() / (x @ weight.T).norm() < 0.02


@exact_products
def test_only_wide_layers_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a small samora: not the blocks' output, and no low-rank pair."""
    monkeypatch.setattr(linear, "FEW_WEIGHTS", 32 * 96)
    torch.manual_seed(0)
    model = build_model(get_variant("samora", encoder_size=SIZE), 3, 32).eval()
    slab = torch.rand(2, 1, 1, 32, 32)
    with torch.inference_mode():
        before = model(slab).low_res_logits
        multiply_in_int8(model.image_encoder.blocks)
        after = model(slab).low_res_logits
    layers = {name.split(".", 2)[2]: layer for name, layer in model.image_encoder.named_modules()
              if isinstance(layer, Linear)}
    assert {name for name, layer in layers.items() if layer.int8 is None} == {"attn.proj"}
    assert {"attn.qkv", "mlp.lin1", "mlp.lin2"} < set(layers)
    apart = (after - before).norm() / before.norm()
    assert 0 < apart < 0.1


@exact_products
@pytest.mark.parametrize("name", VARIANTS)
@torch.inference_mode()
def test_every_variant_stays_near_its_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "FEW_WEIGHTS", 1)
    model = small_model(name, num_classes=3)
    slab = torch.rand(1, 1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = model(slab).low_res_logits
    multiply_in_int8(model.image_encoder.blocks)
    apart = (model(slab).low_res_logits - before).norm() / before.norm()
    assert 0 < apart < 0.1


def test_a_processor_that_overflows_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def adding_up_pairs_in_16_bits(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        products = a.int()[:, :, None] * b.int()[None]
        pairs = products.unflatten(1, (-1, 2)).sum(2)
        return pairs.clamp(-32768, 32767).sum(1)

    monkeypatch.setattr(torch, "_int_mm", lambda a, b: adding_up_pairs_in_16_bits(a.int() + 128, b))
    assert not multiplies_int8()
    monkeypatch.delattr(torch, "_int_mm")
    assert not multiplies_int8()


def plain_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """In 64 bits, as an exact processor's in 32."""
    return (a.long() @ b.long()).int()


def test_a_processor_is_believed_where_its_largest_sums_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """127 x 127 and its negative, 64 times; one less anywhere and it is not."""
    monkeypatch.setattr(torch, "_int_mm", plain_product)
    assert multiplies_int8()
    for row in (0, 31, 32, 63):
        def almost(a: torch.Tensor, b: torch.Tensor, row: int = row) -> torch.Tensor:
            found = plain_product(a, b)
            found[row, 5] -= 1
            return found

        monkeypatch.setattr(torch, "_int_mm", almost)
        assert not multiplies_int8()


def test_this_processor_is_believed_where_it_multiplies_exactly() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randint(-127, 128, shape, generator=generator).to(torch.int8) for shape in ((32, 64), (64, 32)))
    a[:, :32], b[:32] = 127, 127
    try:
        exact = torch.equal(torch._int_mm(a, b), plain_product(a, b))
    except (AttributeError, RuntimeError):
        exact = False
    assert multiplies_int8() == exact


@pytest.mark.parametrize(("at_once", "rows"), [(1, [1] * 7), (199, [1] * 7), (200, [2, 2, 2, 1]), (10**6, [7])])
def test_as_many_rows_as_a_cache_holds_go_at_once(at_once: int, rows: list[int], monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    """A hundred numbers a row, forty that enter and sixty that leave."""
    monkeypatch.setattr(int8, "AT_ONCE", at_once)
    seen: list[int] = []
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: seen.append(len(a)) or plain_product(a, b))
    torch.manual_seed(0)
    x, weight = torch.randn(7, 40), torch.randn(60, 40)
    found = int8_product(x, quantized(weight))
    assert seen == rows
    assert (found - x @ weight.T).norm() / (x @ weight.T).norm() < 0.02
