"""A base of our own: which phantoms it learns from, what it learns to tell apart, and what its card says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from SAMoraLib.card import read_card
from SAMoraLib.demo.phantom import STRUCTURES
from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.refusals import refusal
from Testing.training.small_run import log_of
from Training import pretrain_base
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation
from Training.settings.stages import PretrainBase

QUICK = Optimisation(steps=1, batch_size=2, accelerator="cpu", devices=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[range, Preprocessing, Path, int]]:
    """For which phantoms there was a call; what it returns are noise of all structures."""
    calls: list[tuple[range, Preprocessing, Path, int]] = []

    def phantom_structures(*call: Any) -> list[np.ndarray]:
        calls.append(call)
        rng = np.random.default_rng(0)
        return [rng.integers(0, len(STRUCTURES), (3, 32, 32), dtype=np.uint8) for _ in call[0]]

    monkeypatch.setattr(pretrain_base, "phantom_structures", phantom_structures)
    return calls


def config(folder: Path, **changes: Any) -> PretrainBase:
    return PretrainBase(folder / "run", **({"image_size": 32, "phantoms": 2, "first_seed": 50, "workers": 3,
                                            "cache": folder / "cache", "optimisation": QUICK} | changes))


def test_a_base_is_trained_whole_and_says_of_what(tmp_path: Path, asked: list[Any]) -> None:
    pretrain_base.pretrain_base(config(tmp_path, window=(-100.0, 200.0), neighbours=4.0))
    assert asked == [(range(50, 52), Preprocessing("CT", "hu_window", -100, 200, "body", 32, 4.0),
                      tmp_path / "cache", 3)]
    card = read_card(tmp_path / "run" / "base.safetensors")
    assert (card.kind, card.name, card.image_size, card.base) == ("base", "tiny-base", 32, None)
    assert card.variant is not None and card.variant.name == "sam"
    assert card.training == {"script": "pretrain_base", "steps": 1, "batch_size": 2, "phantoms": 2,
                             "classes": list(STRUCTURES)}
    assert [line["step"] for line in log_of(tmp_path / "run")] == [1]


def test_it_tells_every_structure_from_every_other(tmp_path: Path, asked: list[Any]) -> None:
    """One mask for each, the first for what is none of the others."""
    pretrain_base.pretrain_base(config(tmp_path))
    tokens = load_file(tmp_path / "run" / "base.safetensors")["mask_decoder.mask_tokens.weight"]
    assert len(tokens) == len(STRUCTURES)


def test_a_base_of_sam_2_is_made_by_the_encoders_name(tmp_path: Path, asked: list[Any],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_base, "fit", lambda *_: None)
    pytest.importorskip("sam2", reason="needs the sam2 package")
    pretrain_base.pretrain_base(config(tmp_path, encoder="hiera_nano"))
    card = read_card(tmp_path / "run" / "base.safetensors")
    assert card.variant is not None
    assert (card.name, card.variant.name, card.variant.encoder) == ("hiera_nano-base", "sam_2", "hiera_nano")


def test_everything_is_trained_and_both_losses_count_alike(tmp_path: Path, asked: list[Any],
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[nn.Module, Any]] = []
    monkeypatch.setattr(pretrain_base, "fit", lambda fabric, objective, slices, *_: seen.append((objective, slices)))
    pretrain_base.pretrain_base(config(tmp_path, ct=0.5))
    [(objective, slices)] = seen
    assert isinstance(objective, SegmentationObjective)
    assert objective.loss.ce_weight == objective.loss.dice_weight == 1
    assert all(parameter.requires_grad for parameter in objective.model.parameters())
    assert len(slices) == 2 * 3 and (slices.ct, slices.seed) == (0.5, QUICK.seed)
    image, structures = slices[0, 4]
    assert image.shape == (1, 1, 32, 32) and structures.shape == (1, 32, 32) and structures.dtype == torch.int64


def test_one_process_of_several_writes_the_file(tmp_path: Path, asked: list[Any],
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_base, "make_fabric", lambda _: SimpleNamespace(is_global_zero=False))
    monkeypatch.setattr(pretrain_base, "fit", lambda *_: None)
    pretrain_base.pretrain_base(config(tmp_path))
    assert not (tmp_path / "run" / "base.safetensors").exists()


def test_a_base_is_told_nothing_of_some_organs(tmp_path: Path, asked: list[Any]) -> None:
    pretrain_base.pretrain_base(config(tmp_path, untold=("liver",)))
    assert read_card(tmp_path / "run" / "base.safetensors").training["untold"] == ["liver"]
    assert "heart" in refusal(lambda: config(tmp_path, untold=("heart",)))
