"""An expert's training: views, objectives and teachers of the levels, and what is written at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from SAMoraLib.card import Card, read_card, reference_to
from SAMoraLib.checkpoint import save_model
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.refusals import refusal
from Testing.small import CT, SIZE
from Testing.training.conftest import Cases
from Testing.training.small_run import log_of
from Training import stage1_expert
from Training.data.augment import POLICIES
from Training.data.slices import ViewDataset
from Training.objectives.contrastive import ContrastiveObjective
from Training.objectives.denoising import DenoisingObjective
from Training.objectives.distillation import ImageDistillation, PatchDistillation
from Training.objectives.labelled import LabelledObjective
from Training.objectives.masked import MaskedObjective
from Training.settings.optimisation import Optimisation
from Training.settings.stages import Stage1Expert
from Training.stage1_expert import find_teacher, make_objective, make_view, teacher_reference, train_expert
from Training.teachers.mae import Mae, MaeSize
from Training.teachers.weights import Teacher, build_teacher, save_teacher

QUICK = Optimisation(steps=1, batch_size=2, accelerator="cpu", devices=1)


def config(level: str, folder: Path = Path("o"), **changes: Any) -> Stage1Expert:
    return Stage1Expert(folder / "run", folder / "manifest.json", folder / "base.safetensors", level,
                        **({"encoder": "tiny", "preprocessing": CT, "cache": folder / "cache", "hidden": 16,
                            "optimisation": QUICK} | changes))


def expert_model(level: str) -> SegmentationModel:
    torch.manual_seed(0)
    variant = get_variant("samed", adapters=(level,), trained=("lora",), encoder_size=SIZE)
    model = build_model(variant, 1, 32)
    train_only(model, expert_keys(model, level))
    return model


def scratch(level: str, model: SegmentationModel, dice_weight: float = 0.0) -> nn.Module:
    config = Stage1Expert(Path("o"), Path("m"), Path("b"), level, dice_weight=dice_weight)
    return make_objective(config, model, [])  # type: ignore[arg-type]  # no teacher, so no view is looked at


def batch(level: str) -> list[Tensor]:
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

    def loss() -> Tensor:
        torch.manual_seed(1)  # the same mask each time
        return objective(samples)

    before = loss().item()
    for _ in range(10):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.9 * before


def test_each_level_has_its_own_objective() -> None:
    for level, kind in (("image", ContrastiveObjective), ("patch", MaskedObjective), ("pixel", DenoisingObjective)):
        assert type(scratch(level, expert_model(level))) is kind
    masked = make_objective(config("patch", mask_ratio=0.4), expert_model("patch"), cast("ViewDataset", []))
    assert cast("MaskedObjective", masked).ratio == 0.4
    assert cast("DenoisingObjective", scratch("pixel", expert_model("pixel"), 0.9)).dice_weight == 0.9


@pytest.mark.parametrize(("level", "supervision", "count"), [
    ("image", "scratch", 2), ("image", "teacher", 1), ("patch", "scratch", 1), ("patch", "teacher", 1),
    ("pixel", "scratch", 2),
])
def test_each_level_looks_at_as_many_views_as_it_compares(level: str, supervision: str, count: int) -> None:
    image = torch.rand(1, 16, 16)
    view = make_view(config(level, supervision=supervision, augment=POLICIES["none"]))
    views = view(image, np.random.default_rng(0))
    assert len(views) == count and torch.equal(views[-1], image)
    assert torch.equal(views[0], image) == (level != "pixel"), "the pixel level's first view is noisy"
    moved = make_view(config(level, supervision=supervision, augment=POLICIES["views"]))(image,
                                                                                        np.random.default_rng(0))
    assert not torch.equal(moved[-1], image), "views are changed as the configuration says"


class Views:
    """So many views, which note who asks for them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, ...]:
        self.asked.append(key)
        return torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(key[1])), torch.full((1, 1, 1, 1), 9.0)


def teacher_of(level: str) -> Teacher:
    torch.manual_seed(0)
    return build_teacher("simclr_tiny", 32) if level == "image" else Mae(MaeSize(8, 24, 1, 2, 16, 1, 2), 32)


@pytest.mark.parametrize(("count", "step", "asked"), [(1, 1, 1), (5, 1, 5), (64, 1, 64), (127, 1, 127), (128, 2, 64),
                                                      (200, 3, 67)])
def test_a_teacher_is_standardised_by_about_64_views_spread_over_all(count: int, step: int, asked: int) -> None:
    views = Views(count)
    make_objective(config("patch", supervision="teacher"), expert_model("patch"), cast("ViewDataset", views),
                   teacher_of("patch"))
    assert views.asked == [(0, index) for index in range(0, count, step)] and len(views.asked) == asked


@pytest.mark.parametrize(("level", "kind"), [("image", ImageDistillation), ("patch", PatchDistillation)])
def test_a_teacher_is_distilled_at_its_level(level: str, kind: type) -> None:
    objective: Any = make_objective(config(level, supervision="teacher", mask_ratio=0.3), expert_model(level),
                                    cast("ViewDataset", Views(4)), teacher_of(level))
    assert type(objective) is kind and objective.projector[0].out_features == 16
    assert level == "image" or objective.ratio == 0.3
    assert torch.isfinite(objective(batch(level)[:1]))


@pytest.fixture
def data(cases: Cases, tmp_path: Path) -> Path:
    for number, case in enumerate("abc"):
        cases.add(case, seed=number)
    cases.manifest(tmp_path, train="a", validation="b", test="c")
    torch.manual_seed(0)
    model = build_model(get_variant("sam", "tiny"), 1, 32)
    save_model(tmp_path / "base.safetensors", model, Card("base", "b", model.variant, 32))
    return tmp_path


def test_a_run_writes_the_experts_pairs_and_nothing_else(data: Path) -> None:
    train_expert(config("pixel", data, rank=2, splits=("train", "validation")))
    path = data / "run" / "expert.safetensors"
    saved, card = load_file(path), read_card(path)
    assert saved and all(".lora.pixel." in key for key in saved)
    assert any(value.any() for key, value in saved.items() if key.endswith(".b")), "they have learnt"
    assert (card.kind, card.name, card.image_size, card.parents) == ("expert", "pixel", 32, ())
    assert card.base == reference_to(data / "base.safetensors") and card.preprocessing == CT
    assert card.variant is not None
    assert (card.variant.name, card.variant.rank, card.variant.adapters) == ("expert_pixel", 2, ("pixel",))
    assert card.training == {"script": "stage1_expert", "level": "pixel", "supervision": "scratch", "steps": 1,
                             "batch_size": 2, "slices": 12}
    assert [line["step"] for line in log_of(data / "run")] == [1]


def test_one_process_of_several_writes_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage1_expert, "make_fabric", lambda _: SimpleNamespace(is_global_zero=False))
    monkeypatch.setattr(stage1_expert, "fit", lambda *_: None)
    train_expert(config("image", data))
    assert not (data / "run" / "expert.safetensors").exists()


@pytest.mark.parametrize(("supervision", "teachers"), [("scratch", []), ("teacher", ["mae_tiny"])])
def test_a_teacher_is_fetched_where_there_is_one(data: Path, supervision: str, teachers: list[str],
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    kinds: list[type] = []

    def find_teacher(_: Stage1Expert) -> Teacher:
        found.append("mae_tiny")
        return build_teacher("mae_tiny", 32)

    monkeypatch.setattr(stage1_expert, "find_teacher", find_teacher)
    monkeypatch.setattr(stage1_expert, "fit", lambda fabric, objective, *_: kinds.append(type(objective)))
    train_expert(config("patch", data, supervision=supervision))
    assert found == teachers and kinds == [PatchDistillation if teachers else MaskedObjective]


@pytest.mark.parametrize(("row", "level", "other"), [("simclr_tiny", "image", "patch"), ("mae_tiny", "patch", "image")])
def test_a_teacher_teaches_its_own_level_alone(tmp_path: Path, row: str, level: str, other: str) -> None:
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, build_teacher(row, 32), Card("teacher", row, None, 32))
    teacher = find_teacher(config(level, supervision="teacher", teacher=str(path)))
    assert all(torch.equal(value, teacher.state_dict()[key]) for key, value in load_file(path).items())
    message = refusal(lambda: find_teacher(config(other, supervision="teacher", teacher=str(path))))
    assert f"'{path}' cannot teach the {other} level" in message


def test_a_card_names_the_teacher_if_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "teacher.safetensors"
    save_teacher(path, build_teacher("mae_tiny", 32), Card("teacher", "mae_tiny", None, 32))
    assert teacher_reference(config("patch", teacher=str(path))) == ()
    assert teacher_reference(config("patch", supervision="teacher", teacher=str(path))) == (reference_to(path),)
    assert teacher_reference(config("patch", supervision="teacher", teacher="timm:vit.mae")) == (
        {"name": "timm:vit.mae", "sha256": ""},)
    assert teacher_reference(config("image", supervision="teacher")) == (
        {"name": "weights/r50_2x_sk1.pth", "sha256": ""},)


def test_an_expert_taught_with_labels_keeps_its_pairs_alone(data: Path) -> None:
    """The positive control: its linear layer learns beside it, and is thrown away."""
    organs = ("liver", "spleen")
    train_expert(config("image", data, supervision="labels", organs=organs, optimisation=replace(QUICK, steps=2)))
    saved, card = (read(data / "run" / "expert.safetensors") for read in (load_file, read_card))
    assert saved and all(".lora.image." in key for key in saved)
    assert all(value.any() for key, value in saved.items() if key.endswith(".b")), "they have learnt"
    assert (card.name, card.parents, card.training["organs"]) == ("image", (), list(organs))
    assert card.training["supervision"] == "labels"


def test_labels_teach_the_expert_its_organs(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Any, Any]] = []
    monkeypatch.setattr(stage1_expert, "fit", lambda fabric, objective, samples, *_: seen.append((objective, samples)))
    train_expert(config("patch", data, supervision="labels", organs=("liver", "spleen", "left_kidney")))
    [(objective, samples)] = seen
    assert type(objective) is LabelledObjective and objective.level == "patch" and len(samples) == 6
    assert {int(value) for index in range(6) for value in samples[0, index][1].unique()} == {0, 1, 2, 3}
    assert objective.head.out_channels == 4
    trained = {name for name, parameter in objective.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if ".lora.patch." not in name} == {"head.weight", "head.bias"}


def test_an_organ_that_nobody_labelled_leaves_no_folder(data: Path) -> None:
    assert "pancreas" in refusal(lambda: train_expert(config("image", data, supervision="labels",
                                                             organs=("pancreas",))))
    assert not (data / "run").exists()
