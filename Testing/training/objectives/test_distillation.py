"""Distillation: tokens are compared place by place, and the teacher never changes."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import SIZE
from Training.objectives.distillation import Frozen, ImageDistillation, PatchDistillation
from Training.teachers.mae import Mae, MaeSize
from Training.teachers.weights import Teacher, build_teacher

TEACHER = MaeSize(8, 24, 1, 2, 16, 1, 2)


def student(level: str) -> SegmentationModel:
    torch.manual_seed(0)
    model = build_model(get_variant("samed", adapters=(level,), trained=("lora",), encoder_size=SIZE), 1, 32)
    train_only(model, expert_keys(model, level))
    return model


def frozen(teacher: Teacher) -> Frozen:
    return Frozen(teacher, torch.rand(16, 1, 1, 32, 32, generator=torch.Generator().manual_seed(2)))


def objective(level: str) -> nn.Module:
    encoder = student(level).image_encoder
    if level == "image":
        return ImageDistillation(encoder, SIZE.out_chans, frozen(build_teacher("simclr_tiny", 32)), 16)
    return PatchDistillation(encoder, SIZE.embed_dim, frozen(Mae(TEACHER, 32)), 16, 0.75)


@pytest.mark.parametrize("level", ["image", "patch"])
def test_expert_and_projector_learn_and_the_teacher_stays(level: str) -> None:
    module = objective(level).train()
    before = {key: value.clone() for key, value in module.teacher.state_dict().items()}
    optimiser = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    samples, losses = [torch.rand(3, 1, 1, 32, 32)], []
    for _ in range(10):
        torch.manual_seed(1)  # the same mask each time
        optimiser.zero_grad()
        loss = module(samples)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    trained = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert trained == {"encoder", "projector"} | ({"mask_token"} if level == "patch" else set())
    assert all(torch.equal(value, before[key]) for key, value in module.teacher.state_dict().items())


def test_a_frozen_teacher_keeps_its_statistics_in_training() -> None:
    teacher = frozen(build_teacher("simclr_tiny", 32)).train()
    assert not any(module.training for module in teacher.modules())
    slices = torch.rand(2, 3, 32, 32)
    assert_close(teacher(slices)[:1], teacher(slices[:1]))


@pytest.mark.parametrize("teacher", [build_teacher("simclr_tiny", 32), Mae(TEACHER, 32)], ids=["simclr", "mae"])
def test_features_are_standardised_by_channel(teacher: Teacher) -> None:
    views = torch.rand(16, 1, 1, 32, 32)
    features = Frozen(teacher, views)(views[:, 0].expand(-1, 3, -1, -1)).flatten(0, -2)
    assert features.mean(0).abs().max() < 1e-3
    spread = features.std(0)
    assert spread.max() <= 1 and spread[spread > 0].mean() > 0.6  # channels that never fire stay at 0


def test_student_and_teacher_tokens_are_in_the_same_order() -> None:
    """Both networks reduced to their patch embeddings: the one bright patch must be the same token in both."""
    module = objective("patch")
    module.encoder.blocks, module.teacher.teacher.encoder.blocks = nn.ModuleList(), nn.Sequential()
    module.ratio = 0.0
    seen = {}
    module.projector.register_forward_hook(lambda _, inputs, output: seen.update(student=inputs[0]))
    module.teacher.register_forward_hook(lambda _, inputs, output: seen.update(teacher=output))
    plain, bright = torch.zeros(2, 1, 1, 1, 32, 32)
    bright[..., 8:16, 24:32] = 1
    module([torch.cat([plain, bright])])
    for tokens in seen.values():
        changed = (tokens[1] - tokens[0]).abs().amax(-1) > 1e-4
        assert changed.nonzero().tolist() == [[1, 3]]


def test_masked_places_keep_their_targets() -> None:
    """With everything masked the student still is compared with the whole image's tokens at every place."""
    module = objective("patch")
    module.ratio = 1.0
    first, second = torch.rand(2, 1, 1, 1, 32, 32)
    answers = []
    module.projector.register_forward_hook(lambda _, inputs, output: answers.append(output))
    losses = [module([view]).item() for view in (first, second)]
    assert torch.equal(*answers) and losses[0] != losses[1]


def test_grids_that_differ_are_refused() -> None:
    encoder = student("patch").image_encoder
    coarse = frozen(Mae(MaeSize(16, 24, 1, 2, 16, 1, 2), 32))
    message = refusal(lambda: PatchDistillation(encoder, 32, coarse, 16, 0.75))
    assert message == "The student has 4 x 4 tokens and the teacher 2 x 2; choose a teacher with patches of 8 pixels."


class Means(nn.Module):
    """A teacher whose features are a slice's brightness, ten times it, and one."""

    width = 3

    def features(self, slices: Tensor) -> Tensor:
        mean = slices.mean(dim=(1, 2, 3))
        return torch.stack([mean, 10 * mean, torch.ones_like(mean)], dim=-1)


def test_a_channels_unit_is_its_spread_and_a_hundredth_of_that_of_all() -> None:
    """Over all slices, also where they do not come in whole batches."""
    brightness = torch.arange(11.0)
    made = Frozen(cast("Teacher", Means()), brightness.view(11, 1, 1, 1, 1).expand(-1, -1, -1, 4, 4))
    spread = 11**0.5  # of 0 to 10: the sum of squares is 110, of ten degrees of freedom
    of_all = float(np.std([*range(11), *range(0, 110, 10), *[1] * 11], ddof=1))
    assert_close(made.mean, torch.tensor([5.0, 50.0, 1.0]))
    assert_close(made.deviation, torch.tensor([spread, 10 * spread, 0.0]) + 0.01 * of_all + 1e-6)
    assert_close(made(torch.full((1, 3, 4, 4), 7.0))[0], torch.tensor([2.0, 20.0, 0.0]) / made.deviation)
    alike = Frozen(cast("Teacher", Means()), torch.zeros(3, 1, 1, 4, 4)).deviation
    assert alike.min() > 1e-7 + 0.01 * float(np.std([0] * 6 + [1] * 3, ddof=1))


@pytest.mark.parametrize("teacher", [build_teacher("simclr_tiny", 32), Mae(TEACHER, 32)], ids=["simclr", "mae"])
def test_channels_that_never_change_are_not_turned(teacher: Teacher) -> None:
    """Of equal views nothing differs; what is brighter than they still is."""
    alike = torch.full((3, 1, 1, 32, 32), 0.25)
    made = Frozen(teacher, alike)
    assert made.deviation.min() > 0
    darker, brighter = made(torch.zeros(1, 3, 32, 32)), made(torch.ones(1, 3, 32, 32))
    raw = teacher.features(torch.ones(1, 3, 32, 32)) - teacher.features(torch.zeros(1, 3, 32, 32))
    moved = raw.abs() > 1e-3 * raw.abs().max()
    assert moved.any() and torch.equal((brighter - darker)[moved].sign(), raw[moved].sign())


def test_the_token_of_what_is_hidden_begins_small() -> None:
    token = objective("patch").mask_token
    assert token.shape == (SIZE.embed_dim,) and 0.01 < token.std().item() < 0.03


def test_the_first_view_alone_is_distilled() -> None:
    for level in ("image", "patch"):
        module = objective(level)
        first, second = torch.rand(2, 3, 1, 1, 32, 32)
        losses = []
        for views in ([first], [first, second]):
            torch.manual_seed(1)
            losses.append(module(views))
        assert torch.equal(*losses)
