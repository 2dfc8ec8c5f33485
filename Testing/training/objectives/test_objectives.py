"""Objectives: what they measure, and which parameters their gradient reaches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import EncoderSize, get_variant
from Testing.closeness import assert_close
from Training.objectives.contrastive import ContrastiveObjective
from Training.objectives.denoising import DenoisingObjective, image_dice
from Training.objectives.losses import segmentation_loss
from Training.objectives.masked import MaeObjective, MaskedObjective, patches_of, random_mask
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.stages import Stage1Expert
from Training.stage1_expert import make_objective
from Training.teachers.mae import Mae, MaeSize, rgb_patches

SIZE = EncoderSize(32, 2, 4, (1,), window_size=3, patch_size=8, out_chans=32, decoder_mlp_dim=32, decoder_heads=4,
                   iou_hidden_dim=16)


def expert_model(level: str) -> SegmentationModel:
    torch.manual_seed(0)
    variant = get_variant("samed", adapters=(level,), trained=("lora",), encoder_size=SIZE)
    model = build_model(variant, 1, 32)
    train_only(model, expert_keys(model, level))
    return model


def scratch(level: str, model: SegmentationModel, dice_weight: float = 0.0) -> torch.nn.Module:
    config = Stage1Expert(Path("o"), Path("m"), Path("b"), level, dice_weight=dice_weight)
    return make_objective(config, model, [])  # no teacher, so no view is looked at


def batch(level: str) -> list[torch.Tensor]:
    return list(torch.rand(2 if level != "patch" else 1, 3, 1, 1, 32, 32))


@pytest.mark.parametrize("level", ["image", "patch", "pixel"])
def test_the_gradient_reaches_the_expert_and_the_head_alone(level: str) -> None:
    model = expert_model(level)
    objective = scratch(level, model)
    objective(batch(level)).backward()
    reached = {name for name, parameter in objective.named_parameters() if parameter.grad is not None}
    encoder = {name for name in reached if name.startswith("encoder.")}
    assert encoder == {name for name, _ in objective.named_parameters() if f".lora.{level}." in name}
    assert len(reached) > len(encoder), "the throw-away head is trained too"
    # B starts at zero, so A has no gradient at first, and B must have one.
    assert all(parameter.grad.abs().max() > 0 for name, parameter in objective.named_parameters()
               if name in encoder and name.endswith(".b"))


@pytest.mark.parametrize(("level", "dice_weight"), [("image", 0.0), ("patch", 0.0), ("pixel", 0.0), ("pixel", 0.9)])
def test_a_few_steps_lower_the_loss(level: str, dice_weight: float) -> None:
    objective = scratch(level, expert_model(level), dice_weight)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    samples = batch(level)

    def loss() -> torch.Tensor:
        torch.manual_seed(1)  # the same mask each time
        return objective(samples)

    before = loss().item()
    for _ in range(10):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * before


def test_masks_cover_the_ratio_and_differ() -> None:
    torch.manual_seed(0)
    mask = random_mask(5, 8, 0.75, torch.device("cpu"))
    assert mask.flatten(1).sum(1).tolist() == [48] * 5
    assert not torch.equal(mask[0], mask[1])


def test_patches_are_row_by_row() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4) + torch.tensor([100.0, 0, 200]).reshape(1, 3, 1, 1)  # itself between
    assert patches_of(image, 2)[0, 0, 1].tolist() == [2, 3, 6, 7]
    assert patches_of(image, 2)[0, 1, 0].tolist() == [8, 9, 12, 13]


def test_visible_patches_do_not_count_in_the_masked_loss() -> None:
    model = expert_model("patch")
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


def test_denoising_rebuilds_at_the_slice_size() -> None:
    model = expert_model("pixel")
    objective = DenoisingObjective(model.image_encoder, 32, 8)
    assert objective.decoder(model.image_encoder(torch.rand(2, 3, 32, 32), "pixel")).shape == (2, 1, 32, 32)


def test_denoising_compares_with_the_slice_itself_not_its_neighbours() -> None:
    model = expert_model("pixel")
    objective = DenoisingObjective(model.image_encoder, 32, 8)
    noisy, clean = torch.rand(2, 2, 3, 1, 32, 32)
    others = clean.clone()
    others[:, [0, 2]] += 1
    assert torch.equal(objective([noisy, clean]), objective([noisy, others]))
    assert not torch.equal(objective([noisy, clean]), objective([noisy, clean + 1]))


def test_the_dice_of_images_is_a_relative_squared_error() -> None:
    rebuilt, clean = torch.rand(2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    relative = (rebuilt - clean).square().sum() / (rebuilt.square() + clean.square()).sum()
    assert_close(image_dice(rebuilt, clean), relative)
    assert_close(image_dice(clean, clean), 0.0, scale=1.0)
    assert image_dice(torch.zeros_like(clean), torch.zeros_like(clean)).item() == 0  # black on black


def test_the_supplements_denoising_loss_weighs_dice_and_error() -> None:
    objective = DenoisingObjective(expert_model("pixel").image_encoder, 32, 8, dice_weight=0.9)
    noisy, clean = torch.rand(2, 2, 1, 1, 32, 32)
    loss = objective([noisy, clean])
    rebuilt = objective.decoder(objective.encoder(noisy[:, 0].expand(-1, 3, -1, -1), "pixel")).sigmoid()
    expected = 0.9 * image_dice(rebuilt, clean[:, 0]) + 0.1 * F.mse_loss(rebuilt, clean[:, 0])
    assert_close(loss, expected)


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


def test_contrast_sees_both_views() -> None:
    model = expert_model("image")
    objective = ContrastiveObjective(model.image_encoder, 32)
    first, second = batch("image")
    assert not torch.isclose(objective([first, second]), objective([first, first]))


@pytest.mark.parametrize("resolution", ["low", "full"])
def test_segmentation_compares_at_the_chosen_resolution(resolution: str) -> None:
    torch.manual_seed(0)
    model = build_model(get_variant("samed", encoder_size=SIZE), 2, 32)
    image = torch.rand(2, 1, 1, 32, 32)
    label = torch.zeros(2, 1, 32, 32, dtype=torch.long)
    label[:, :, 8:, 8:] = 1
    loss = SegmentationObjective(model, resolution)([image, label])
    prediction = model(image)
    if resolution == "low":
        side = prediction.low_res_logits.shape[-1]
        rows = torch.round(torch.linspace(0, 31, side)).long()  # order-0 zoom keeps the corners
        expected = segmentation_loss(prediction.low_res_logits, label[..., rows, :][..., rows])
    else:
        expected = segmentation_loss(prediction.logits, label)
    assert_close(loss, expected)
