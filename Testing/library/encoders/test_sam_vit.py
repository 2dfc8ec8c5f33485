"""SAM's image encoder: the package's own forward is the oracle."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from torch import Tensor, nn

from SAMoraLib.encoders.sam_vit import SamAttention, SamImageEncoder, resize_absolute, resize_position_tables
from SAMoraLib.packages.segment_anything import EncoderBlock
from SAMoraLib.variants import EncoderSize
from Testing.closeness import assert_close
from Testing.golden import Golden, assert_golden, fixtures, sam_size
from Testing.small import IMAGE_SIZE, SIZE, randomise, small_model

DEEP = replace(SIZE, depth=3)


def package_encoder(size: EncoderSize, image_size: int) -> ImageEncoderViT:
    return ImageEncoderViT(img_size=image_size, patch_size=size.patch_size, embed_dim=size.embed_dim, depth=size.depth,
                           num_heads=size.num_heads, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True,
                           global_attn_indexes=size.global_attn_indexes, window_size=size.window_size,
                           out_chans=size.out_chans).eval()


@pytest.mark.parametrize(("image_size", "window"), [(32, 2), (32, 3), (32, 4), (32, 5), (32, 14), (48, 4), (40, 2)])
@torch.no_grad()
def test_it_equals_the_package(image_size: int, window: int) -> None:
    size = replace(DEEP, window_size=window)
    theirs = package_encoder(size, image_size)
    randomise(theirs)
    ours = SamImageEncoder(size, image_size).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1))
    assert_close(ours(image), theirs(image))


def test_its_gradients_equal_the_packages() -> None:
    theirs, ours = package_encoder(DEEP, 32), SamImageEncoder(DEEP, 32)
    randomise(theirs)
    ours.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for encoder in (theirs, ours):
        encoder(image).square().mean().backward()
    expected = dict(theirs.named_parameters())
    largest = max(parameter.grad.abs().max() for parameter in theirs.parameters())
    for name, parameter in ours.named_parameters():
        assert_close(parameter.grad, expected[name].grad, scale=largest, what=name)


@torch.no_grad()
def test_attention_on_a_grid_that_is_not_square() -> None:
    """Rows and columns have tables of their own and must not be mixed up."""
    ours = SamAttention(32, 4, use_rel_pos=True, input_size=(3, 5))
    randomise(ours)
    tokens = torch.randn(2, 3, 5, 32, generator=torch.Generator().manual_seed(1))
    theirs = super(SamAttention, ours).forward(tokens)
    assert_close(ours(tokens), theirs)


@pytest.mark.parametrize("grid", [(3, 5), (23, 24)])  # few keys, and many
def test_without_gradients_it_is_computed_otherwise_and_the_same(grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch
                                                                 ) -> None:
    monkeypatch.setattr("SAMoraLib.kernels.linear.processor_is_half_used", lambda: True)
    monkeypatch.setattr("SAMoraLib.kernels.attention.FEW_SCORES", 0)
    ours = SamAttention(32, 4, use_rel_pos=True, input_size=grid)
    randomise(ours)
    tokens = torch.randn(2, *grid, 32, generator=torch.Generator().manual_seed(1))
    expected = ours(tokens)
    assert expected.requires_grad
    with torch.no_grad():
        assert_close(ours(tokens), expected)
        monkeypatch.setattr("SAMoraLib.kernels.linear.processor_is_half_used", lambda: False)
        assert_close(ours(tokens), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(ours(tokens).float(), expected, tolerance=0.1)


@pytest.mark.parametrize("image_size", [32, 36, 4])
def test_the_image_must_be_whole_patches(image_size: int) -> None:
    if image_size % 8 == 0:
        assert SamImageEncoder(SIZE, image_size).pos_embed.shape[1] == image_size // 8
        return
    with pytest.raises(ValueError, match=rf"Image size {image_size} is not a multiple of the patch size 8"):
        SamImageEncoder(SIZE, image_size)


@torch.no_grad()
def test_embedded_tokens_lie_in_the_order_of_their_shape() -> None:
    """Else each LayerNorm and each sum of the encoder turns them round again."""
    encoder = SamImageEncoder(SIZE, 32).eval()
    assert encoder.patch_embed(torch.rand(2, 3, 32, 32)).is_contiguous()


@pytest.mark.parametrize("row", ["ma_sam", "tp_mamba"])
@torch.no_grad()
def test_slices_are_no_slab_unless_they_are_said_to_be(row: str) -> None:
    encoder = small_model(row).image_encoder
    images = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))

    def last_block(x: Tensor) -> Tensor:
        return [*encoder.after_blocks(encoder.patch_embed(x) + encoder.pos_embed)][-1]

    for use in (encoder, encoder.tokens, lambda x: encoder.run_blocks(encoder.patch_embed(x) + encoder.pos_embed),
                last_block):
        assert_close(use(images)[1:2], use(images[1:2]))
    assert not torch.allclose(encoder.tokens(images, depth=3)[1:2], encoder.tokens(images[1:2]), atol=1e-4)


@torch.no_grad()
def test_tokens_are_what_the_neck_sees() -> None:
    encoder = SamImageEncoder(SIZE, 32).eval()
    randomise(encoder)
    image = torch.rand(1, 3, 32, 32)
    tokens = encoder.tokens(image)
    assert tokens.shape == (1, 4, 4, 32)
    assert torch.equal(encoder.neck(tokens.permute(0, 3, 1, 2)), encoder(image))


def tables(grid: int) -> dict[str, Tensor]:
    encoder = SamImageEncoder(DEEP, grid * 8)
    randomise(encoder)
    return {f"image_encoder.{key}": value for key, value in encoder.state_dict().items()}


@pytest.mark.parametrize("grid", [3, 4, 6, 9])
def test_tables_are_resized_as_samed_does(grid: int) -> None:
    state = tables(6)
    resized = resize_position_tables(state, DEEP, grid * 8)
    positions = F.interpolate(state["image_encoder.pos_embed"].permute(0, 3, 1, 2), (grid, grid), mode="bilinear",
                              align_corners=False).permute(0, 2, 3, 1)
    expected = {"image_encoder.pos_embed": positions}
    for axis in "hw":
        key = f"image_encoder.blocks.1.attn.rel_pos_{axis}"
        expected[key] = F.interpolate(state[key][None, None], (2 * grid - 1, 8), mode="bilinear",
                                      align_corners=False)[0, 0]
    assert set(resized) == set(state)
    for key, value in resized.items():  # everything else, window blocks above all, stays as it is
        assert torch.equal(value, expected.get(key, state[key])), key


@pytest.mark.parametrize("golden", fixtures("sam_vit"))
@torch.no_grad()
def test_published_numbers(golden: Golden) -> None:
    encoder = SamImageEncoder(sam_size(golden), golden.meta["constructor"]["img_size"]).eval()
    prefix = "image_encoder."
    encoder.load_state_dict({key.removeprefix(prefix): value for key, value in golden.weights("state_dict").items()
                             if key.startswith(prefix)})
    seen: dict[str, Tensor] = {}
    encoder.patch_embed.register_forward_hook(lambda *call: seen.update(enc_patch_embed=call[2]))
    for i, block in enumerate(encoder.blocks):
        block.register_forward_hook(lambda *call, i=i: seen.update({f"enc_block{i}": call[2]}))
    seen["image_embeddings"] = encoder(golden.io["preprocessed"])
    assert len(seen) == 2 + len(encoder.blocks)
    for name, value in seen.items():
        assert_golden(value, golden.io[name])


def test_a_frozen_encoder_computes_in_training_what_it_computes_without_gradients() -> None:
    """The samora rows' first block stands before everything that is trained."""
    encoder = small_model("samora").image_encoder.requires_grad_(False).train()
    image = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
    frozen = encoder(image)
    with torch.no_grad():
        assert torch.equal(frozen, encoder(image))
    assert not frozen.requires_grad


def test_a_position_table_that_is_trained_alone_has_its_gradient() -> None:
    encoder = small_model("sam").image_encoder.requires_grad_(False)
    table = encoder.blocks[0].attn.rel_pos_h.requires_grad_(True)
    encoder(torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE)).square().mean().backward()
    assert table.grad.any()


def test_recomputed_blocks_have_the_same_gradients() -> None:
    encoder = small_model("samed").image_encoder
    image = torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(1))
    gradients = []
    for recompute in (False, True):
        encoder.recompute = recompute
        encoder.zero_grad()
        encoder(image).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None])
    assert all(torch.equal(kept, again) for kept, again in zip(*gradients, strict=True))


def test_a_recomputed_block_runs_once_more_on_the_way_back_and_only_then() -> None:
    encoder = small_model("samed").image_encoder
    image, runs = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE), []
    for block in encoder.blocks:
        block.norm1.register_forward_pre_hook(lambda *_: runs.append(1))
    for recompute, tracked, expected in ((False, True, 2), (True, True, 4), (True, False, 2)):
        encoder.recompute = recompute
        runs.clear()
        with torch.set_grad_enabled(tracked):
            output = encoder(image).square().mean()
        assert len(runs) == 2
        if tracked:
            output.backward()
        assert len(runs) == expected


@pytest.mark.parametrize("window", [0, 2, 4])
@torch.no_grad()
def test_windows_that_fit_are_not_extended(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would only copy their keys and values."""
    monkeypatch.setattr("SAMoraLib.encoders.sam_vit._extended", None)
    ours = SamAttention(32, 4, use_rel_pos=True, input_size=(4, 8))
    assert ours(torch.randn(2, 4, 8, 32), window=window).shape == (2, 4, 8, 32)
    with pytest.raises(TypeError):
        ours(torch.randn(2, 4, 8, 32), window=3)


def test_no_block_is_drawn_that_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own would take time, and other random numbers."""
    built: list[nn.Module] = []
    real = EncoderBlock.__init__
    monkeypatch.setattr(EncoderBlock, "__init__", lambda self, *given, **named: (
        built.append(self), real(self, *given, **named))[1])
    encoder = SamImageEncoder(DEEP, 32)
    assert len(built) == 3 and all(one is kept for one, kept in zip(built, encoder.blocks, strict=True))


@torch.no_grad()
def test_without_windows_all_tokens_attend_to_each_other() -> None:
    ours = SamAttention(32, 4, use_rel_pos=True, input_size=(4, 4))
    randomise(ours)
    tokens = torch.randn(2, 4, 4, 32, generator=torch.Generator().manual_seed(1))
    assert_close(ours.attend(ours.qkv(tokens)), ours(tokens, window=0))
    assert not torch.allclose(ours(tokens, window=2), ours(tokens), atol=1e-3)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_a_table_of_the_right_size_is_handed_on(mode: str) -> None:
    table = torch.randn(1, 4, 5, 3)
    assert resize_absolute(table, (4, 5), mode) is table
    assert resize_absolute(table, (5, 4), mode).shape == (1, 5, 4, 3)


def test_relative_tables_are_resized_though_they_are_as_long_as_they_are_wide() -> None:
    """Seven channels a head, on a grid of four that has seven distances."""
    size = replace(SIZE, embed_dim=28)
    state = {f"image_encoder.{key}": value for key, value in SamImageEncoder(size, 48).state_dict().items()}
    resized = resize_position_tables(state, size, 32)
    for axis in "hw":
        key = f"image_encoder.blocks.1.attn.rel_pos_{axis}"
        assert state[key].shape == (11, 7) and resized[key].shape == (7, 7)


@pytest.mark.parametrize("count", [1, 2])
@torch.no_grad()
def test_the_last_blocks_tokens_are_kept_in_place_of_the_neck(count: int) -> None:
    encoder = SamImageEncoder(DEEP, 32).eval()
    randomise(encoder)
    slices = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    whole = encoder.features(slices, depth=2)
    assert whole.blocks == () and torch.equal(whole.embedding, encoder(slices)) and whole.depth == 2
    x, outputs = encoder.patch_embed(slices) + encoder.pos_embed, []
    for block in encoder.blocks:
        x = block(x)
        outputs.append(x)
    encoder.keep_blocks(count)
    kept = encoder.features(slices, depth=2)
    assert kept.depth == 2 and len(kept.blocks) == count
    for found, expected in zip(kept.blocks, outputs[-count:], strict=True):
        assert_close(found, expected)
    assert_close(kept.embedding, x.permute(0, 3, 1, 2))
