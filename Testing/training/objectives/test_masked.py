"""Masked patches: how many are hidden, what is hidden of them, and that they alone are judged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.small import SIZE
from Training.objectives.masked import (
    MaeObjective,
    MaskedObjective,
    masked_tokens,
    normalised,
    patches_of,
    random_mask,
)
from Training.teachers.mae import Mae, MaeSize, rgb_patches


class Tables(nn.Module):
    """An encoder of which nothing but its position table is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.pos_embed = torch.zeros(1, 2, 2, 512)


def expert_model() -> SegmentationModel:
    torch.manual_seed(0)
    variant = get_variant("samed", adapters=("patch",), trained=("lora",), encoder_size=SIZE)
    model = build_model(variant, 1, 32)
    train_only(model, expert_keys(model, "patch"))
    return model


def test_masks_cover_the_ratio_and_differ() -> None:
    torch.manual_seed(0)
    mask = random_mask(5, 8, 0.75, torch.device("cpu"))
    assert mask.flatten(1).sum(1).tolist() == [48] * 5
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (0.1, 1), (0.5, 4), (0.7, 6), (1.0, 9)])
def test_the_nearest_number_of_patches_is_hidden(ratio: float, count: int) -> None:
    mask = random_mask(3, 3, ratio, torch.device("cpu"))
    assert mask.shape == (3, 3, 3) and mask.flatten(1).sum(1).tolist() == [count] * 3


def test_every_place_is_hidden_as_often_as_any_other() -> None:
    torch.manual_seed(0)
    often = random_mask(2000, 3, 1 / 3, torch.device("cpu")).float().mean(0)
    assert often.min() > 0.25 and often.max() < 0.42


def test_patches_are_row_by_row() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4) + torch.tensor([100.0, 0, 200]).reshape(1, 3, 1, 1)  # itself between
    assert patches_of(image, 2)[0, 0, 1].tolist() == [2, 3, 6, 7]
    assert patches_of(image, 2)[0, 1, 0].tolist() == [8, 9, 12, 13]


def test_a_patch_is_measured_by_its_own_mean_and_deviation() -> None:
    patches = torch.tensor([[1.0, 3.0], [5.0, 25.0]])
    deviation = 2**0.5  # of two numbers that lie two apart
    assert_close(normalised(patches), torch.tensor([[-1.0, 1.0], [-10.0, 10.0]])
                 / torch.tensor([[deviation + 0.02], [10 * deviation + 0.02]]))


def test_a_patch_of_background_stays_nothing() -> None:
    noise = 1e-4 * torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    assert normalised(noise).abs().max() < 0.02
    assert not normalised(torch.zeros(2, 64)).any()


def test_a_place_is_hidden_whole_on_a_finer_grid() -> None:
    """SAM 2 begins with several tokens for each place of the embedding."""
    positions = torch.rand(1, 6, 6, 5)
    encoder = SimpleNamespace(patch_embed=lambda slices: torch.zeros(len(slices), 6, 6, 5), grid=2, pos_embed=positions)
    torch.manual_seed(0)
    tokens, mask = masked_tokens(cast("Encoder", encoder), torch.zeros(3, 3, 24, 24), torch.full((5,), 7.0), 0.5)
    assert mask.shape == (3, 2, 2) and mask.sum() == 6
    hidden = 7 * mask[:, :, None, :, None, None].expand(3, 2, 3, 2, 3, 5).reshape(3, 6, 6, 5)
    assert_close(tokens, hidden + positions)


def test_visible_patches_do_not_count_in_the_masked_loss() -> None:
    model = expert_model()
    objective = MaskedObjective(model.image_encoder, 32, 8, ratio=0.5)
    views = [torch.rand(1, 1, 1, 32, 32)]
    torch.manual_seed(3)
    mask = random_mask(1, 4, 0.5, torch.device("cpu"))
    captured = {}
    objective.head.register_forward_hook(lambda module, inputs, output: captured.setdefault("rebuilt", output))
    torch.manual_seed(3)
    loss = objective(views)
    target = patches_of(views[0][:, 0].expand(-1, 3, -1, -1), 8)
    target = (target - target.mean(-1, keepdim=True)) / (target.std(-1, keepdim=True) + 0.02)
    error = (captured["rebuilt"] - target).square().mean(-1)
    assert_close(loss, error[mask].mean())


def test_three_quarters_are_hidden_if_nothing_else_is_said() -> None:
    """As MAE hides them: the loss that the same draw gives at this ratio."""
    torch.manual_seed(0)
    plain = MaskedObjective(expert_model().image_encoder, 32, 8)
    told = MaskedObjective(plain.encoder, 32, 8, ratio=0.75)
    told.load_state_dict(plain.state_dict())
    views, losses = [torch.rand(2, 1, 1, 32, 32)], []
    for objective in (plain, told):
        torch.manual_seed(1)
        losses.append(objective(views))
    assert torch.equal(*losses)


def test_the_token_of_what_is_hidden_begins_small() -> None:
    """As a ViT's own tables do: it must not drown the positions that are added to it."""
    torch.manual_seed(0)
    token = MaskedObjective(cast("Encoder", Tables()), 8, 8).mask_token
    assert token.shape == (512,)
    assert 0.01 < float(token.detach().std()) < 0.03 and abs(float(token.detach().mean())) < 0.01


def test_visible_patches_do_not_count_in_maes_loss() -> None:
    torch.manual_seed(0)
    objective = MaeObjective(Mae(MaeSize(8, 24, 1, 2, 16, 1, 2), 32), ratio=0.75)
    view = torch.rand(2, 1, 1, 32, 32)
    captured = {}
    objective.teacher.register_forward_hook(lambda _, inputs, output: captured.update(mask=inputs[1], rebuilt=output))
    loss = objective([view])
    mask = captured["mask"].flatten(1)
    assert mask.sum(1).tolist() == [12, 12]
    target = rgb_patches(view[:, 0].expand(-1, 3, -1, -1), 8)
    target = (target - target.mean(-1, keepdim=True)) / (target.std(-1, keepdim=True) + 0.02)
    error = (captured["rebuilt"] - target).square().mean(-1)
    assert_close(loss, error[mask].mean())


def test_patches_are_rebuilt_from_tokens_by_two_layers() -> None:
    head = MaskedObjective(cast("Encoder", Tables()), 8, 4).head
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == [(16, 8), (16, 16)]
    assert MaskedObjective(cast("Encoder", Tables()), 8, 6).head(torch.zeros(1, 8)).shape == (1, 36)


@pytest.mark.parametrize("mae", [False, True])
def test_the_first_view_alone_is_rebuilt(mae: bool) -> None:
    torch.manual_seed(0)
    objective = (MaeObjective(Mae(MaeSize(8, 24, 1, 2, 16, 1, 2), 32), 0.75) if mae
                 else MaskedObjective(expert_model().image_encoder, 32, 8))
    first, second = torch.rand(2, 2, 1, 1, 32, 32)
    losses = []
    for views in ([first], [first, second], [second, first]):
        torch.manual_seed(1)
        losses.append(objective(views))
    assert torch.equal(losses[0], losses[1]) and not torch.equal(losses[0], losses[2])
