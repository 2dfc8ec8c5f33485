"""SAM 2's image encoder: the package's own forward is the oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from SAMoraLib.adapters.lora import add_lora_to_encoder
from SAMoraLib.encoders.sam2_hiera import TOP_DOWN, Sam2ImageEncoder
from SAMoraLib.variants import HIERA_SIZES, HieraSize
from Testing.closeness import assert_close
from Testing.golden import Golden, assert_golden, fixtures
from Testing.sam2_package import package_encoder
from Testing.small import HIERA, randomise

# The third stage at 64 pixels has windows that fit, windows with padding, and windows wider than its grid.
WINDOWS = [(4, 2, 4, 2), (4, 2, 6, 3), (8, 4, 10, 5), (2, 2, 2, 1)]


def twins(size: HieraSize, image_size: int) -> tuple[Any, Sam2ImageEncoder]:
    """The package's encoder and ours with the same weights, none of them zero."""
    torch.manual_seed(0)
    theirs, ours = package_encoder(size), Sam2ImageEncoder(size, image_size).eval()
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def images(side: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize("image_size", [32, 64, 96])
@torch.no_grad()
def test_it_equals_the_package(windows: tuple[int, ...], image_size: int) -> None:
    """In float64, so that rounding explains nothing; the package's neck goes through float32."""
    theirs, ours = (encoder.double() for encoder in twins(replace(HIERA, window_spec=windows), image_size))
    image = images(image_size).double()
    for found, stage in zip(ours.trunk(image), theirs.trunk(image), strict=True):
        assert_close(found, stage)
    features = ours.features(image, depth=2)
    for found, level in zip((*features.skips, features.embedding), theirs(image)["backbone_fpn"], strict=True):
        assert_close(found, level)
    assert torch.equal(ours(image), features.embedding) and features.depth == 2
    assert torch.equal(features.embedding, ours.tokens(image).permute(0, 3, 1, 2))
    grid = image_size // 16
    assert ours.grid == grid and [f.shape[-1] for f in features.skips] == [4 * grid, 2 * grid]


@pytest.mark.parametrize("windows", WINDOWS)
@pytest.mark.parametrize(("height", "width"), [(32, 64), (96, 32), (64, 160)])
@torch.no_grad()
def test_it_equals_the_package_on_slices_that_are_not_square(windows: tuple[int, ...], height: int, width: int) -> None:
    theirs, ours = (encoder.double() for encoder in twins(replace(HIERA, window_spec=windows), 32))
    image = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1)).double()
    for found, stage in zip(ours.trunk(image), theirs.trunk(image), strict=True):
        assert_close(found, stage)
    features = ours.features(image, depth=2)
    for found, level in zip((*features.skips, features.embedding), theirs(image)["backbone_fpn"], strict=True):
        assert_close(found, level)


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [224, 256, 512])
@torch.no_grad()
def test_base_plus_equals_the_package(image_size: int) -> None:
    torch.manual_seed(0)
    size = HIERA_SIZES["hiera_b+"]
    theirs, ours = package_encoder(size), Sam2ImageEncoder(size, image_size).eval()
    randomise(theirs, scale=0.02)
    ours.load_state_dict(theirs.state_dict(), assign=True)  # once in memory
    found, expected = ours(images(image_size, 1)), theirs(images(image_size, 1))["vision_features"]
    assert_close(found, expected)


def test_its_gradients_equal_the_packages() -> None:
    theirs, ours = twins(HIERA, 64)
    theirs(images(64))["backbone_fpn"][-1].square().mean().backward()
    ours(images(64)).square().mean().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        if expected[name].grad is None:  # the finer levels' convolutions
            assert parameter.grad is None, name
        else:
            assert_close(parameter.grad, expected[name].grad, what=name)


@torch.no_grad()
def test_a_pair_is_w_plus_ba_also_where_a_stage_begins() -> None:
    """There q and v are twice as wide as what they are made from."""
    theirs, ours = twins(HIERA, 64)
    add_lora_to_encoder(ours, ("default",), rank=2)
    randomise(ours.trunk, seed=3)
    state = ours.state_dict()
    for index, block in enumerate(ours.blocks):
        weight, width = state[f"trunk.blocks.{index}.attn.qkv.weight"].clone(), block.dim_out
        for part, start in (("q", 0), ("v", 2 * width)):
            pair = block.attn.qkv.lora["default"][part]
            assert pair.a.shape == (2, block.dim) and pair.b.shape == (width, 2)
            weight[start : start + width] += pair.b @ pair.a
        state[f"trunk.blocks.{index}.attn.qkv.weight"] = weight
    theirs.load_state_dict({key: value for key, value in state.items() if ".lora." not in key})
    assert_close(ours(images(64)), theirs(images(64))["vision_features"])
    assert_close(ours(images(64), "default"), ours(images(64)))


@pytest.mark.parametrize("golden", fixtures("sam2_image_encoder"))
@torch.no_grad()
def test_published_numbers(golden: Golden) -> None:
    meta, trunk = golden.meta, golden.meta["trunk"]
    size = HieraSize(trunk["embed_dim"], trunk["num_heads"], tuple(trunk["stages"]), tuple(trunk["global_att_blocks"]),
                     tuple(trunk["window_spec"]), trunk["window_pos_embed_bkg_spatial_size"][0], meta["d_model"])
    encoder = Sam2ImageEncoder(size, meta["size"][0]).eval()
    assert list(TOP_DOWN) == meta["fpn_top_down_levels"] and encoder.trunk.q_pool_blocks == meta["q_pool_blocks"]
    encoder.scalp = meta["scalp"]
    encoder.load_state_dict(golden.weights("state_dict"))
    seen: dict[str, Tensor] = {}
    encoder.patch_embed.register_forward_hook(lambda *call: seen.update(enc_patch_embed=call[2]))
    for i, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda *call, i=i: seen.update({f"enc_block{i}": call[2]}))
    seen["trunk_pos_embed"] = encoder.pos_embed
    image = golden.io["input"]
    stages = encoder.trunk(image)
    levels, positions = encoder.neck(stages)
    seen |= {f"trunk{i}": stage for i, stage in enumerate(stages)}
    seen |= {f"fpn{i}": level for i, level in enumerate(encoder.levels(stages))}
    seen |= {f"pos{i}": positions[i] for i in range(len(levels) - encoder.scalp)}
    seen["vision_features"] = encoder(image)
    assert set(seen) == set(golden.io) - {"input"}
    for name, value in seen.items():
        assert_golden(value, golden.io[name])


@pytest.mark.parametrize("image_size", [32, 160, 224, 256, 512, 1024])
def test_metas_windows_take_these_sizes(image_size: int) -> None:
    assert Sam2ImageEncoder(replace(HIERA, window_spec=(8, 4, 14, 7)), image_size).grid == image_size // 16


@pytest.mark.parametrize(("image_size", "choice"), [(0, 32), (16, 32), (48, 32), (250, 224)])
def test_other_sizes_are_refused(image_size: int, choice: int) -> None:
    message = rf"Image size {image_size} is not a multiple of 32, .* choose e\.g\. {choice}"
    with pytest.raises(ValueError, match=message):
        Sam2ImageEncoder(HIERA, image_size)


def test_recomputed_blocks_have_the_same_gradients() -> None:
    _, encoder = twins(HIERA, 32)
    gradients = []
    for recompute in (False, True):
        encoder.trunk.recompute = recompute
        encoder.zero_grad()
        encoder(images(32)).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_a_recomputed_block_runs_once_more_on_the_way_back_and_only_then() -> None:
    _, encoder = twins(HIERA, 32)
    runs: list[int] = []
    for block in encoder.blocks:
        block.norm1.register_forward_pre_hook(lambda *_: runs.append(1))
    for recompute, tracked, expected in ((False, True, 5), (True, True, 10), (True, False, 5)):
        encoder.trunk.recompute = recompute
        runs.clear()
        with torch.set_grad_enabled(tracked):
            output = encoder(images(32)).square().mean()
        assert len(runs) == 5
        if tracked:
            output.backward()
        assert len(runs) == expected


@torch.no_grad()
def test_blocks_run_from_embedded_tokens_as_from_the_image() -> None:
    _, encoder = twins(HIERA, 64)
    embedded = encoder.patch_embed(images(64)) + encoder.pos_embed
    assert embedded.shape == (2, 16, 16, 16)
    tokens = encoder.run_blocks(embedded)
    assert tokens.shape == (2, 4, 4, 32) and torch.equal(tokens, encoder.tokens(images(64)))


@torch.no_grad()
def test_blocks_hear_of_slabs_and_of_none_unless_there_are() -> None:
    encoder, heard = Sam2ImageEncoder(HIERA, 64).eval(), []
    for block in encoder.blocks:
        block.register_forward_pre_hook(lambda block, inputs: heard.append(inputs[1:]))
    embedded = encoder.patch_embed(images(64)) + encoder.pos_embed
    for use, expected in ((lambda: encoder(images(64)), (None, 1)), (lambda: encoder.tokens(images(64)), (None, 1)),
                          (lambda: encoder.run_blocks(embedded), (None, 1)),
                          (lambda: encoder.trunk(images(64)), (None, 1)),
                          (lambda: encoder.trunk.run_stages(embedded), (None, 1)),
                          (lambda: encoder.features(images(64), 2), (None, 2)),
                          (lambda: encoder.tokens(images(64), None, 2), (None, 2))):
        use()
        assert heard == [expected] * len(encoder.blocks)
        heard.clear()


@pytest.mark.parametrize(("first", "image_size", "passes"), [(16, 64, True), (16, 32, False), (4, 32, True),
                                                             (4, 16, False)])
def test_the_first_stages_windows_and_the_poolings_divide_the_image(first: int, image_size: int, passes: bool) -> None:
    """Tokens are four pixels; three poolings need eight of them, or the windows of the first stage more."""
    size = replace(HIERA, window_spec=(first, 4, 4, 2))
    if passes:
        assert Sam2ImageEncoder(size, image_size).grid == image_size // 16
    else:
        with pytest.raises(ValueError, match=f"is not a multiple of {4 * max(first, 8)}, which Hiera's windows"):
            Sam2ImageEncoder(size, image_size)
