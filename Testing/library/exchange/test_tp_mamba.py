"""TP-Mamba's released models, and the numbers that the published code gives with them.

Ours are computed in float64: twelve random blocks amplify rounding a thousandfold, so that the published arithmetic
itself, run again in float32 on another number of threads, is up to four tolerances away from the fixture of mode 0.
What lies in the fixture itself is allowed for by twice the tolerance; single adapters are held to it in float32.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import resize_absolute
from SAMoraLib.model import Prediction, SegmentationModel, as_rgb_slices, build_model, enlarged
from SAMoraLib.parts import count_parameters, own_keys
from SAMoraLib.variants import EncoderSize, Variant, get_variant
from Testing.golden import Golden, assert_golden, fixtures, key_shapes
from Testing.library.exchange.tp_mamba_names import from_tp_mamba

EVERY_FIXTURE = pytest.mark.parametrize("published", fixtures("tpmamba"), indirect=True)
PLANES = {0: "volume", 1: "hw", 2: "dw"}  # SAM_Mamba's modes


def released(name: str, mode: int | None = None, **changes: object) -> Variant:
    """What the repository holds, as fields of the row: it has no tri-plane module."""
    row = get_variant("tp_mamba", **changes)
    if name == "sam_base":
        return replace(row, adapters=(), depth_adapter="none")
    if name == "sam_ms":
        return replace(row, depth_adapter="multi_scale")
    return replace(row, depth_adapter="plane_mamba", planes=(PLANES[mode or 0],), input_scale=2)


@dataclass(frozen=True)
class Published:
    """A fixture, our model with its weights, and what the model gives on its input."""

    io: dict[str, Tensor]
    model: SegmentationModel
    stages: dict[str, Tensor]
    prediction: Prediction


def published_model(golden: Golden) -> SegmentationModel:
    meta = golden.meta
    c, mode = meta["constructor"], meta["mode"]
    weights = from_tp_mamba(golden.weights("state_dict"), PLANES[mode or 0])
    depth = 1 + max(int(key.split(".")[2]) for key in weights if key.startswith("image_encoder.blocks."))
    size = EncoderSize(c["dim"], depth, c["heads"], tuple(c["gidx"]), window_size=c["win"], volume_width=c["out"])
    variant = released(meta["kind"], mode, rank=meta["lora_rank"], encoder_size=size)
    model = build_model(variant, meta["num_classes"] - 1, c["vit_img"] // variant.input_scale)
    model.load_state_dict(weights)  # strictly: every tensor has a place, and no place is left
    return model.double().eval()


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> Published:
    golden: Golden = request.param
    model, stages = published_model(golden), {}
    encoder = model.image_encoder
    stacks = {"block": encoder.blocks, "adapter": encoder.depth_adapters}
    watched = {f"{name}{i}": module for name, stack in stacks.items() for i, module in enumerate(stack)}
    for name, module in watched.items():
        module.register_forward_hook(lambda *call, name=name: stages.update({name: call[2].float()}))
    image = golden.io["input"].double().movedim(-1, 2)  # theirs is (B, C, H, W, D)
    slices = enlarged(as_rgb_slices(image), model.variant.input_scale)
    patch = model.variant.size.patch_size
    grid = slices.shape[2] // patch, slices.shape[3] // patch
    # The fixtures' slices are not square; timm resizes the table when it runs.
    table = resize_absolute(encoder.pos_embed.detach(), grid, "bicubic")
    encoder.pos_embed = nn.Parameter(table)
    with torch.no_grad():
        prediction = model.decode(encoder.features(slices, image.shape[2]))
    return Published(golden.io, model, stages, prediction)


def assert_within(times: int, actual: Tensor, reference: Tensor) -> None:
    allowed = times * (1e-4 * max(1.0, float(reference.std())) + 1e-4 * reference.abs())
    off = (actual - reference).abs()
    assert (off <= allowed).all(), f"off by up to {off.max():.2e}"


@EVERY_FIXTURE
def test_blocks_and_adapters(published: Published) -> None:
    named = {name for name in published.io if name.startswith(("block", "adapter"))}
    assert len(named) >= 7
    for name in named:
        assert_within(2, published.stages[name], published.io[name])


@EVERY_FIXTURE
def test_every_adapter_on_the_published_blocks(published: Published) -> None:
    """Nothing is amplified here: in float32, to the tolerance."""
    adapters = published.model.image_encoder.depth_adapters
    for number, adapter in enumerate(adapters):
        if f"block{number}" in published.io and f"adapter{number}" in published.io:
            block = published.io[f"block{number}"]
            assert_golden(copy.deepcopy(adapter).float()(block, len(block)), published.io[f"adapter{number}"])


@EVERY_FIXTURE
def test_masks(published: Published) -> None:
    assert_within(2, published.prediction.low_res_logits.float().movedim(2, -1), published.io["logits"])


@EVERY_FIXTURE
def test_the_mamba_block_alone(published: Published) -> None:
    if "mamba_in" not in published.io:
        pytest.skip("this fixture has no Mamba")
    (mamba,) = published.model.image_encoder.depth_adapters[0].planes.mamba.values()
    assert_golden(copy.deepcopy(mamba).float()(published.io["mamba_in"]), published.io["mamba_out"])


@pytest.mark.parametrize(("name", "total", "trainable"), [
    ("sam_base", 95_872_540, 6_985_486), ("sam_ms", 110_175_772, 21_288_718), ("sam_mamba", 105_469_838, 16_586_382),
])
def test_every_tensor_has_its_place_and_the_counts_are_published(name: str, total: int, trainable: int) -> None:
    """ViT-B, 13 organs, tables of 1024 pixels."""
    shapes = key_shapes(f"tpmamba_{name}")
    renamed = from_tp_mamba({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    variant = released(name)
    with torch.device("meta"):
        model = build_model(variant, 13, 1024 // variant.input_scale)
    assert {key: value.shape for key, value in renamed.items()} == {k: v.shape for k, v in model.state_dict().items()}
    head = sum(math.prod(shape) for key, shape in shapes.items() if key.startswith("sam.head."))  # nothing runs it
    assert count_parameters(model) + head == total
    assert count_parameters(model, variant.trained) == trainable


def test_the_row_adds_the_planes() -> None:
    """Three Mambas of 185,664 and a norm of 384 per block over SAM_MS: what the paper draws, and nobody released."""
    with torch.device("meta"):
        row, multi_scale = (build_model(variant, 13, 96) for variant in (get_variant("tp_mamba"), released("sam_ms")))
    one_mamba = 6_561_792 // 12 - 2 * 768 * 192 - 2 * 192
    added = count_parameters(row) - count_parameters(multi_scale)
    assert added == 12 * (3 * one_mamba + 2 * 192)
    assert len(own_keys(row, ["base"])) == len(own_keys(multi_scale, ["base"]))
    assert (count_parameters(row), count_parameters(row, row.variant.trained)) == (116_054_030, 30_348_046)


def test_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match=r"no tensor 'sam\.other'"):
        from_tp_mamba({"sam.other": torch.zeros(1)})
