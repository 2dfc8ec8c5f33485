"""A teacher's pre-training: its views, its loss, and what its card says of where it began."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from torch import nn

from SAMoraLib.card import read_card, reference_to
from Testing.small import CT
from Testing.training.conftest import Cases
from Testing.training.small_run import log_of
from Training import stage1_teacher
from Training.data.augment import POLICIES
from Training.objectives.contrastive import SimclrObjective
from Training.objectives.masked import MaeObjective
from Training.settings.optimisation import Optimisation
from Training.settings.stages import Stage1Teacher
from Training.stage1_teacher import make_objective, make_view, train_teacher
from Training.teachers.weights import build_teacher

QUICK = Optimisation(steps=1, batch_size=2, accelerator="cpu", devices=1)


def config(row: str, folder: Path = Path("o"), **changes: Any) -> Stage1Teacher:
    return Stage1Teacher(folder / "run", folder / "manifest.json", row,
                         **({"preprocessing": CT, "cache": folder / "cache", "optimisation": QUICK} | changes))


@pytest.fixture
def data(cases: Cases, tmp_path: Path) -> Path:
    for number, case in enumerate("abc"):
        cases.add(case, seed=number)
    cases.manifest(tmp_path, train="a", validation="b", test="c")
    return tmp_path


@pytest.mark.parametrize(("row", "count"), [("simclr_tiny", 2), ("mae_tiny", 1)])
def test_simclr_compares_two_views_and_mae_rebuilds_one(row: str, count: int) -> None:
    image = torch.rand(1, 16, 16)
    views = make_view(config(row, augment=POLICIES["none"]), build_teacher(row, 32))(image, np.random.default_rng(0))
    assert len(views) == count and all(torch.equal(view, image) for view in views)
    changed = make_view(config(row, augment=POLICIES["views"]), build_teacher(row, 32))(image, np.random.default_rng(0))
    assert len({tuple(view.ravel().tolist()) for view in (image, *changed)}) == count + 1


def objective_on(row: str, processes: int, device: str) -> tuple[nn.Module, set[bool]]:
    """The objective on so many devices, and of which of its normalisations the statistics are everyone's."""
    fabric = cast("Fabric", SimpleNamespace(world_size=processes, device=torch.device(device)))
    torch.manual_seed(0)
    objective = make_objective(config(row, temperature=0.3, mask_ratio=0.6), build_teacher(row, 32), fabric)
    norms = [module for module in objective.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    return objective, {isinstance(norm, nn.SyncBatchNorm) for norm in norms}


@pytest.mark.parametrize(("processes", "device", "shared"), [(1, "cuda", False), (2, "cpu", False), (2, "cuda", True),
                                                             (8, "cuda", True)])
def test_simclrs_statistics_are_those_of_all_gpus_together(processes: int, device: str, shared: bool) -> None:
    """Of network and head; there is no such layer for the CPU."""
    objective, found = objective_on("simclr_tiny", processes, device)
    assert isinstance(objective, SimclrObjective) and objective.temperature == 0.3
    assert found == {shared}


@pytest.mark.parametrize(("processes", "device"), [(1, "cpu"), (2, "cuda")])
def test_mae_needs_none(processes: int, device: str) -> None:
    objective, found = objective_on("mae_tiny", processes, device)
    assert isinstance(objective, MaeObjective) and objective.ratio == 0.6 and not found


def test_a_new_teacher_is_trained_and_has_no_parents(data: Path) -> None:
    train_teacher(config("simclr_tiny", data, splits=("train", "validation")))
    card = read_card(data / "run" / "teacher.safetensors")
    assert (card.kind, card.name, card.variant, card.image_size, card.parents) == ("teacher", "simclr_tiny", None, 32,
                                                                                   ())
    assert card.preprocessing == CT
    assert card.training == {"script": "stage1_teacher", "weights": "", "steps": 1, "batch_size": 2, "slices": 12}
    assert [line["step"] for line in log_of(data / "run")] == [1]


def test_a_teacher_goes_on_from_a_file_and_names_it(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage1_teacher, "fit", lambda *_: None)
    torch.manual_seed(1)
    train_teacher(config("mae_tiny", data))
    (data / "run").rename(data / "first")
    source = data / "first" / "teacher.safetensors"
    torch.manual_seed(2)
    train_teacher(config("mae_tiny", data, weights=str(source)))
    end = data / "run" / "teacher.safetensors"
    assert list(read_card(end).parents) == [reference_to(source)]
    assert all(torch.equal(value, load_file(source)[key]) for key, value in load_file(end).items())


def test_weights_that_are_no_file_are_named_without_a_hash(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int]] = []

    def load_teacher(row: str, source: str, size: int) -> Any:
        asked.append((row, source, size))
        return build_teacher(row, size)

    monkeypatch.setattr(stage1_teacher, "fit", lambda *_: None)
    monkeypatch.setattr(stage1_teacher, "load_teacher", load_teacher)
    train_teacher(config("mae_tiny", data, weights="timm:vit.mae"))
    assert asked == [("mae_tiny", "timm:vit.mae", 32)]
    card = read_card(data / "run" / "teacher.safetensors")
    assert card.parents == () and card.training["weights"] == "timm:vit.mae"


def test_one_process_of_several_writes_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = SimpleNamespace(is_global_zero=False, world_size=2, device=torch.device("cpu"))
    monkeypatch.setattr(stage1_teacher, "make_fabric", lambda _: other)
    monkeypatch.setattr(stage1_teacher, "fit", lambda *_: None)
    train_teacher(config("simclr_tiny", data))
    assert not (data / "run" / "teacher.safetensors").exists()
