"""The demonstration: what it writes, what it prints, and how well the shipped checkpoint does on unseen phantoms."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from SAMoraLib.card import read_card
from SAMoraLib.checkpoint import load_model
from SAMoraLib.demo import demo
from SAMoraLib.demo.demo import CHECKPOINT, dice_of, peak_mb, run_demo
from SAMoraLib.demo.phantom import Phantom, make_phantom
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import LABEL_SETS
from SAMoraLib.volume.io import read_volume

SYNAPSE = LABEL_SETS["synapse"]
UNSEEN = (1, 2, 3, 4, 5)  # training starts at seed 10000


@pytest.fixture
def phantom(monkeypatch: pytest.MonkeyPatch) -> Phantom:
    """A coarse patient, of whom the model finds every other column and no pancreas."""
    patient = make_phantom(3, (16.0, 16.0, 24.0))
    found = np.where(patient.labels.array == SYNAPSE.by_name("pancreas").value, 0, patient.labels.array)
    found[:, :, ::2] = 0
    predictor = SimpleNamespace(labels=SYNAPSE, predict=lambda ct: ct.with_array(found))
    monkeypatch.setattr(demo, "make_phantom", lambda seed: patient)
    monkeypatch.setattr(demo, "load_model", lambda path: (SimpleNamespace(variant=SimpleNamespace(name="row")), None))
    monkeypatch.setattr(demo, "Predictor", lambda model, card: predictor)
    return patient


def test_what_is_printed_agrees_with_what_is_written(phantom: Phantom, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    """An organ a line, and the same numbers in the JSON line."""
    mean = run_demo(3, tmp_path, as_json=True)
    *lines, last = capsys.readouterr().out.splitlines()
    summary, found = json.loads(last), read_volume(tmp_path / "segmentation.nii.gz").array
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").array, phantom.ct.array)
    assert lines[0] == "organ            volume (ml)    Dice  "
    dice = []
    for label, line in zip(SYNAPSE, lines[1:9], strict=True):
        inside, true = found == label.value, phantom.labels.array == label.value
        dice.append(2 * (inside & true).sum() / (inside.sum() + true.sum()))
        millilitres, organ = inside.sum() * 6.144, summary["organs"][label.name]
        assert line == f"{label.title:16}{millilitres:12.1f}{dice[-1]:8.3f}  {'found' if inside.any() else 'not found'}"
        assert organ["found"] == inside.any() and organ["volume_ml"] == round(millilitres, 1)
        assert organ["dice"] == round(dice[-1], 4)
    assert mean == pytest.approx(np.mean(dice)) and len(dice) == 8 and dice[-1] == 0
    assert f"Mean Dice {mean:.3f}. Written to {tmp_path}" in lines[-1]
    assert summary["mean_dice"] == round(mean, 4) and summary["peak_mb"] == pytest.approx(peak_mb(), rel=0.2)
    assert 0 < summary["seconds"] < 60 and round(summary["seconds"], 2) == summary["seconds"]


def test_without_json_the_last_line_is_for_people(phantom: Phantom, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                  ) -> None:
    run_demo(3, tmp_path / "new folder" / "out")
    assert capsys.readouterr().out.splitlines()[-1].startswith("Mean Dice ")


@pytest.mark.parametrize(("platform", "maximum"), [("linux", 1_000_000), ("darwin", 1_024_000_000)])
def test_peak_memory_is_in_megabytes_whatever_the_system_counts_in(platform: str, maximum: int,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """Kilobytes on Linux, bytes on macOS."""
    resource = pytest.importorskip("resource", reason="Windows does not tell")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda whose: SimpleNamespace(ru_maxrss=maximum))
    assert peak_mb() == 1024.0
    monkeypatch.setattr(resource, "getrusage", lambda whose: SimpleNamespace(ru_maxrss=maximum * 0.0002))
    assert peak_mb() == 0.2


def test_where_the_system_does_not_tell_peak_memory_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_mb() is None


def test_the_demo_writes_labels_and_picture_and_ends_with_a_json_line(tmp_path: Path,
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    torch.set_num_threads(2)
    mean = run_demo(7, tmp_path, as_json=True)
    assert {path.name for path in tmp_path.iterdir()} == {"ct.nii.gz", "segmentation.seg.nrrd", "segmentation.nii.gz",
                                                          "overlay.png"}
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert set(summary) == {"mean_dice", "seconds", "peak_mb", "organs"}
    assert summary["mean_dice"] == pytest.approx(mean, abs=1e-4)
    assert [line.split("  ")[0] for line in lines[1:9]] == [
        "Spleen", "Right kidney", "Left kidney", "Gallbladder", "Liver", "Stomach", "Aorta", "Pancreas"]
    phantom = make_phantom(7)
    found = read_volume(tmp_path / "segmentation.nii.gz")
    assert np.array_equal(found.array, read_volume(tmp_path / "segmentation.seg.nrrd").array)
    assert found.array.shape == phantom.ct.array.shape
    assert dice_of(found.array == 5, phantom.labels.array == 5) == pytest.approx(
        summary["organs"]["liver"]["dice"], abs=1e-4)
    assert summary["peak_mb"] < 2000
    assert (tmp_path / "overlay.png").stat().st_size > 50_000


def test_the_shipped_checkpoint_keeps_its_measured_quality_on_unseen_seeds() -> None:
    """At most 8 MB; a mean of 0.90 with no organ below 0.80. Measured 0.915, lowest the pancreas at 0.806."""
    torch.set_num_threads(2)
    assert CHECKPOINT.stat().st_size <= 8e6
    model, card = load_model(CHECKPOINT)
    predictor = Predictor(model, card)
    dice = np.array([_dice(predictor, seed) for seed in UNSEEN])
    assert dice.mean() >= 0.90, dice.round(3)
    assert dice.mean(axis=0).min() >= 0.80, dice.mean(axis=0).round(3)


def _dice(predictor: Predictor, seed: int) -> list[float]:
    phantom = make_phantom(seed)
    found = predictor.predict(phantom.ct).array
    return [dice_of(found == label.value, phantom.labels.array == label.value) for label in predictor.labels]


def test_the_shipped_checkpoint_is_self_contained_and_says_what_it_is() -> None:
    card = read_card(CHECKPOINT)
    assert card.base is None and card.variant.name == "samora" and card.licence == "Apache-2.0"
    assert card.labels is not None and len(card.labels) == 8


def test_dice_of_two_empty_masks_is_one() -> None:
    empty = np.zeros(4, bool)
    assert dice_of(empty, empty) == 1.0
    assert dice_of(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool)) == 0.5
