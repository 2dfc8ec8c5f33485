"""LAC and LoRAHub: three pairs that work as one."""

from __future__ import annotations

import copy

import pytest
import torch

from SAMoraLib.adapters.fusion import add_fusion
from SAMoraLib.adapters.lora import add_lora_to_encoder
from SAMoraLib.adapters.lora_composition import LoRAHub, mean_of_pairs
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.variants import EXPERTS, Fusion
from Testing.closeness import assert_close
from Testing.small import SIZE, randomise

IMAGE = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def encoder_with(kind: str) -> SamImageEncoder:
    torch.manual_seed(0)
    encoder = SamImageEncoder(SIZE, 32).eval()
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, Fusion(kind=kind))
    randomise(encoder)
    return encoder.double()


def merged(encoder: SamImageEncoder, kind: str) -> SamImageEncoder:
    """A plain encoder with W + the composed change, written out expert by expert."""
    plain = SamImageEncoder(SIZE, 32).eval().double()
    state = {key: value.clone() for key, value in encoder.state_dict().items()
             if ".lora." not in key and "lorahub" not in key}
    for number, block in enumerate(encoder.blocks):
        weight = state[f"blocks.{number}.attn.qkv.weight"]
        for part, (start, stop) in block.attn.qkv.parts.items():
            pairs = [block.attn.qkv.lora[name][part] for name in EXPERTS]
            if kind == "lac":
                weight[start:stop] += sum(pair.b @ pair.a for pair in pairs) / 3
            else:
                weights = encoder.lorahub.weights
                b, a = (sum(w * matrix for w, matrix in zip(weights, matrices, strict=True))
                        for matrices in ([pair.b for pair in pairs], [pair.a for pair in pairs]))
                weight[start:stop] += b @ a
    plain.load_state_dict(state)
    return plain


@pytest.mark.parametrize("kind", ["lac", "lorahub"])
@torch.no_grad()
def test_it_is_the_encoder_with_the_composed_weights(kind: str) -> None:
    encoder = encoder_with(kind)
    assert_close(encoder(IMAGE), merged(encoder, kind)(IMAGE))
    assert not torch.allclose(encoder(IMAGE), encoder(IMAGE, "image"), atol=1e-3), "and no single expert"


def test_lac_has_nothing_to_learn_and_lorahub_one_weight_per_expert() -> None:
    assert not [name for name, _ in encoder_with("lac").named_parameters() if ".lora." not in name and "lac" in name]
    hub = [(name, tuple(p.shape)) for name, p in encoder_with("lorahub").named_parameters() if "lorahub" in name]
    assert hub == [("lorahub.weights", (3,))], "saved once, not once per block"


def test_lorahub_starts_where_its_weights_have_a_gradient() -> None:
    torch.manual_seed(0)
    encoder = SamImageEncoder(SIZE, 32)
    add_lora_to_encoder(encoder, EXPERTS, rank=2)
    add_fusion(encoder, Fusion(kind="lorahub"))
    for name, parameter in encoder.named_parameters():
        if name.endswith(".b"):
            parameter.data.normal_()
    encoder(IMAGE.float()).square().mean().backward()
    assert (encoder.lorahub.weights.grad.abs() > 0).all()


@torch.no_grad()
def test_a_copy_composes_with_its_own_weights() -> None:
    encoder = encoder_with("lorahub")
    other = copy.deepcopy(encoder)
    other.lorahub.weights.zero_()
    assert not torch.equal(other(IMAGE), encoder(IMAGE))
    assert_close(encoder(IMAGE), merged(encoder, "lorahub")(IMAGE))


def test_lorahub_starts_with_the_mean_of_the_factors() -> None:
    a, b = ([torch.randn(*shape, dtype=torch.float64) for _ in EXPERTS] for shape in ((2, 6), (5, 2)))
    down, up = LoRAHub().double()(a, b)
    assert_close(down, sum(a) / 3, 1e-6)
    assert_close(up, sum(b) / 3, 1e-6)
    assert_close(LoRAHub(2).weights, torch.tensor([0.5, 0.5]))


def test_lacs_pair_has_the_sum_of_the_ranks() -> None:
    a, b = ([torch.randn(*shape, dtype=torch.float64) for _ in EXPERTS] for shape in ((2, 6), (5, 2)))
    down, up = mean_of_pairs(a, b)
    assert down.shape == (6, 6) and up.shape == (5, 6)
    assert_close(up @ down, sum(one @ other for one, other in zip(b, a, strict=True)) / 3)
