"""samed_2 and samora_2 at every image size and class count, and the whole chain at toy length on SAM 2's encoder."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
import torch

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import load_model, save_model
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, own_keys, part_of, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import EXPERTS, get_variant
from SAMoraLib.volume.io import write_volume
from Testing.small import HIERA, randomise
from Training.data.slices import ViewDataset
from Training.objectives.distillation import Frozen, ImageDistillation, PatchDistillation
from Training.objectives.masked import masked_tokens
from Training.objectives.segmentation import SegmentationObjective
from Training.prepare import main as prepare
from Training.pretrain_base import pretrain_base
from Training.settings.command_line import from_command_line
from Training.settings.stages import PretrainBase, Stage1Expert, Stage2
from Training.stage1_expert import make_objective, train_expert
from Training.stage2_finetune import finetune
from Training.teachers.mae import Mae, MaeSize
from Training.teachers.weights import Teacher, build_teacher

LABELS = {1: "spleen", 8: "synapse", 13: "btcv13"}
QUICK = {("samed_2", 224, 8), ("samora_2", 96, 13)}
SIZES = [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
         for case in product(("samed_2", "samora_2"), (96, 224, 256, 512), LABELS)]
SIDE = 96
TEACHER = MaeSize(16, 24, 1, 2, 16, 1, 2)
STEPS = ["--optimisation.steps", "2", "--optimisation.batch_size", "2", "--optimisation.accelerator", "cpu",
         "--optimisation.devices", "1", "--optimisation.threads", "1"]
SLICES = ["--preprocessing.modality", "CT", "--preprocessing.intensity", "hu_window", "--preprocessing.low", "-160",
          "--preprocessing.high", "240", "--preprocessing.crop", "body", "--preprocessing.image_size", str(SIDE)]


def learn_two_steps(model: SegmentationModel) -> set[str]:
    """The parts that moved: what starts at zero hides the rest in the first step."""
    side = model.image_size
    objective = SegmentationObjective(model, "full").train()
    for name, parameter in model.named_parameters():
        if ".lora." in name:  # as after stage 1: new experts leave nothing to fuse
            parameter.data.normal_(std=0.1)
    train_only(model, own_keys(model, model.variant.trained))
    label = (torch.arange(side) * (model.num_classes + 1) // side).expand(1, 1, side, side)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, weight_decay=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):
        optimiser.zero_grad()
        objective([torch.rand(1, 1, 1, side, side), label]).backward()
        optimiser.step()
    return {part_of(name) for name, value in before.items() if not torch.equal(model.get_parameter(name), value)}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("row", "image_size", "classes"), SIZES)
def test_from_nothing_to_a_segmentation(row: str, image_size: int, classes: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = get_label_set(LABELS[classes])
    model = build_model(get_variant(row, "hiera_nano"), classes, image_size)
    assert learn_two_steps(model) == set(model.variant.trained)
    card = Card("model", row, model.variant, image_size, labels,
                Preprocessing("CT", "hu_window", -160, 240, "body", image_size))
    save_model(tmp_path / "m.safetensors", model, card)
    loaded, read = load_model(tmp_path / "m.safetensors")
    assert read == card
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    phantom = make_phantom(0, (8.0, 8.0, 70.0), oriented=True).ct
    found = Predictor(loaded, read, batch_size=2).predict(phantom)
    assert found.array.shape == phantom.array.shape and found.direction == phantom.direction
    assert set(found.array.ravel()) <= set(range(classes + 1)) and found.array.any()


def expert_of(level: str) -> SegmentationModel:
    """As stage 1 trains it."""
    torch.manual_seed(0)
    model = build_model(get_variant("samed_2", encoder_size=HIERA, adapters=(level,)), 1, 64)
    randomise(model)
    train_only(model, expert_keys(model, level))
    return model


@torch.no_grad()
def test_a_masked_place_is_hidden_whole() -> None:
    encoder = expert_of("patch").image_encoder
    token = torch.full((HIERA.embed_dim,), 99.0)
    tokens, mask = masked_tokens(encoder, torch.rand(2, 3, 64, 64), token, 0.75)
    assert mask.shape == (2, 4, 4) and mask.sum() == 24
    hidden = ((tokens - encoder.pos_embed - token).abs() < 0.01).all(dim=-1)  # (2, 16, 16)
    assert torch.equal(hidden, mask[:, :, None, :, None].expand(2, 4, 4, 4, 4).reshape(2, 16, 16))


@pytest.mark.parametrize("level", EXPERTS)
def test_every_block_learns_in_stage_1(level: str) -> None:
    """Also the last stage's, which no finer map but the embedding sees."""
    model, config = expert_of(level), Stage1Expert(Path("o"), Path("m"), Path("b"), level)
    objective = make_objective(config, model, ViewDataset.__new__(ViewDataset))
    objective([torch.rand(2, 1, 1, 64, 64) for _ in range(2)]).backward()
    for name in expert_keys(model, level):
        assert model.get_parameter(name).grad.abs().max() > 0, name


@pytest.mark.parametrize("level", ["image", "patch"])
def test_a_teacher_teaches_an_expert_of_sam_2(level: str) -> None:
    """Its grid is SAM 2's embedding, 16 pixels a place."""
    model = expert_of(level)
    teacher: Teacher = build_teacher("simclr_tiny", 64) if level == "image" else Mae(TEACHER, 64)
    frozen = Frozen(teacher, torch.rand(8, 1, 1, 64, 64, generator=torch.Generator().manual_seed(2)))
    encoder, size = model.image_encoder, model.variant.size
    objective = (ImageDistillation(encoder, size.out_chans, frozen, 16) if level == "image"
                 else PatchDistillation(encoder, size.token_dim, frozen, 16, 0.75))
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    views, losses = [torch.rand(2, 1, 1, 64, 64)], []
    for _ in range(12):
        torch.manual_seed(1)  # the same mask each time
        optimiser.zero_grad()
        loss = objective(views)
        loss.backward()
        for name in expert_keys(model, level):
            assert model.get_parameter(name).grad.abs().max() > 0, name
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]


def test_the_whole_chain(tmp_path: Path) -> None:
    """Base, three experts and both rows, as in Training/configs/demo_rows."""
    for seed in range(2):
        phantom = make_phantom(seed, (8.0, 8.0, 20.0))
        for kind, volume in (("imagesTr", phantom.ct), ("labelsTr", phantom.labels)):
            write_volume(volume, tmp_path / "data" / kind / f"p{seed}.nii.gz")
    prepare(["--input", str(tmp_path / "data"), "--output", str(tmp_path), "--labels", "synapse", "--modality", "CT",
             "--split", "train=p0", "validation=p1"])
    base = tmp_path / "base/base.safetensors"
    pretrain_base(from_command_line(PretrainBase, [
        "--output", str(base.parent), "--encoder", "hiera_nano", "--image_size", str(SIDE), "--phantoms", "1",
        "--workers", "1", "--cache", str(tmp_path / "cache"), *STEPS]))
    common = ["--manifest", str(tmp_path / "manifest.json"), "--base", str(base), "--cache", str(tmp_path / "cache"),
              "--encoder", "hiera_nano", *SLICES, *STEPS]
    for level in EXPERTS:
        train_expert(from_command_line(Stage1Expert, ["--output", str(tmp_path / level), "--level", level, *common]))
        card = read_card(tmp_path / level / "expert.safetensors")
        assert card.variant is not None and card.variant.decoder == "high_res"
    experts = json.dumps([str(tmp_path / level / "expert.safetensors") for level in EXPERTS])
    classes = ["--classes", '{"liver": "liver", "background": "muscle"}']
    for name, more in (("samed_2", []), ("samora_2", ["--experts", experts])):
        finetune(from_command_line(Stage2, ["--output", str(tmp_path / name), "--variant", name,
                                            "--optimisation.recompute", "true", *classes, *more, *common]))
        model, card = load_model(tmp_path / name / "model.safetensors", base=base)
        phantom = make_phantom(9, (8.0, 8.0, 20.0)).ct
        assert Predictor(model, card).predict(phantom).array.shape == phantom.array.shape
