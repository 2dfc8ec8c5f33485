"""Checkpoints, run folders, caches, manifests, requests and events of version 0.1 go on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import load_experts, load_model
from SAMoraLib.model import build_model
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.request import Options, Request
from SAMoraLib.variants import EXPERTS, VARIANTS, Variant
from SAMoraLib.volume import Region
from SAMoraSlicer.batch import FolderBatch
from Testing.closeness import assert_close
from Testing.folders import ROOT
from Testing.small import randomise
from Testing.training import small_run
from Training.data import slices
from Training.data.manifest import read_manifest
from Training.engine.run import Run
from Training.settings.stages import PretrainBase, ReferenceUNet, Stage1Expert, Stage1Teacher, Stage2

OLD = Path(__file__).with_name("version_0_1")
CHECKPOINTS = OLD / "checkpoints"
ROWS: dict[str, dict[str, Any]] = json.loads((OLD / "rows.json").read_text(encoding="utf-8"))
CONFIGURATIONS = {
    "PretrainBase": PretrainBase(Path("runs/x")),
    "Stage1Teacher": Stage1Teacher(Path("runs/x"), Path("m.json"), "mae_tiny"),
    "Stage1Expert": Stage1Expert(Path("runs/x"), Path("m.json"), Path("b.pth"), "patch"),
    "Stage2": Stage2(Path("runs/x"), Path("m.json"), Path("b.pth"), "samora",
                     experts=(Path("a"), Path("b"), Path("c"))),
    "ReferenceUNet": ReferenceUNet(Path("runs/x"), Path("m.json")),
}


def test_a_checkpoint_loads_and_segments_as_it_did() -> None:
    model, card = load_model(CHECKPOINTS / "samora.safetensors")
    assert [parent["name"] for parent in card.parents] == [f"{name}.safetensors" for name in EXPERTS]
    with np.load(CHECKPOINTS / "samora_logits.npz") as arrays, torch.inference_mode():
        image, expected = (torch.from_numpy(arrays[name]) for name in ("image", "logits"))
        found = model(image).low_res_logits
    assert_close(found, expected)


def test_experts_go_into_a_model() -> None:
    variant = read_card(CHECKPOINTS / "samora.safetensors").variant
    assert variant is not None
    cards = load_experts(build_model(variant, 4, 32), [CHECKPOINTS / f"{name}.safetensors" for name in EXPERTS],
                         CHECKPOINTS / "base.safetensors")
    assert [card.name for card in cards] == list(EXPERTS)


@pytest.mark.parametrize("name", ROWS)
def test_a_card_is_read_and_written_as_it_was(name: str) -> None:
    card = ROWS[name]["card"]
    written = json.loads(json.dumps(Card.from_json(card).to_json()))
    assert {key: written[key] for key in card} == card
    published = json.loads(json.dumps(VARIANTS[name].to_json()))
    assert {key: published[key] for key in ROWS[name]["published"]} == ROWS[name]["published"]


@pytest.mark.parametrize("name", ROWS)
def test_tensors_keep_their_names_shapes_and_draws(name: str) -> None:
    """Also in their order: a seeded start draws one after the other."""
    row, size = ROWS[name], 64 if VARIANTS[name].decoder == "high_res" else 32
    torch.manual_seed(0)
    model = build_model(Variant.from_json(row["card"]["variant"]), 4, size)
    found = {key: tensor.float() for key, tensor in model.state_dict().items()}
    assert list(found) == list(row["tensors"])
    for key, (shape, first, mean) in row["tensors"].items():
        assert list(found[key].shape) == shape
        spread = max(float(found[key].abs().max()), 1e-3)  # the file's numbers have five and six digits
        assert abs(float(found[key].flatten()[0]) - first) < 1e-4 * spread + 1e-5
        assert abs(float(found[key].mean()) - mean) < 1e-4 * spread + 1e-6


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def tiny(name: str) -> torch.nn.Module:
        torch.manual_seed(0)
        variant = Variant.from_json(ROWS[name]["card"]["variant"])
        narrow = {"embed_dim": 16, "out_chans": 16, "decoder_mlp_dim": 16, "iou_hidden_dim": 8, "depth_width": 4,
                  "volume_width": 4}
        model = build_model(replace(variant, encoder_size=replace(variant.encoder_size, **narrow)), 4, 32).eval()
        randomise(model, 0)
        return model

    monkeypatch.setattr(small_run, "small_model", tiny)
    folder = shutil.copytree(OLD / "run", tmp_path / "run")
    small_run.train(folder)
    expected = [json.loads(line)["loss"] for line in (OLD / "whole_log.jsonl").read_text("utf-8").splitlines()]
    found = small_run.losses(folder)
    assert len(found) == 50, "20 steps of before and 30 of now"
    assert np.allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("stage", CONFIGURATIONS)
def test_a_run_folder_takes_its_configuration_back(stage: str, tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "configurations" / stage, tmp_path / "run")
    Run(folder, CONFIGURATIONS[stage])
    with pytest.raises(ValueError, match="holds a run whose optimisation differ"):
        Run(folder, replace(CONFIGURATIONS[stage], optimisation=replace(CONFIGURATIONS[stage].optimisation, seed=77)))


def test_cached_slices_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the slices are cached under another key")

    monkeypatch.setattr(slices, "slice_case", refuse)
    data = shutil.copytree(OLD / "data", tmp_path / "data")
    manifest = read_manifest(data / "manifest.json")
    plain = Preprocessing("CT", "hu_window", -160, 240, "body", 16)
    cache = slices.build_cache(manifest, manifest.cases, plain, data / "cache")
    assert len(cache) == 8 and set(cache.label(1).ravel().tolist()) == {0, 1, 4}
    beside = slices.build_cache(manifest, manifest.of("train"), replace(plain, neighbours=5.0), data / "cache")
    assert beside.image(0).shape[0] == 3


def test_a_batch_goes_on(tmp_path: Path) -> None:
    folder = shutil.copytree(OLD / "batch", tmp_path / "batch")
    done = json.loads((folder / "output/manifest.json").read_text(encoding="utf-8"))["cases"]["a"]
    changed = done["fingerprint"][2]  # a clone does not keep the time
    os.utime(folder / "input/a.nii.gz", ns=(changed, changed))
    batch = FolderBatch(folder / "input", folder / "output", CHECKPOINTS / "samora.safetensors", Options(device="cpu"))
    assert [case.name for case in batch.waiting] == ["b"]
    batch.start()
    batch.wait()
    written = json.loads((folder / "output/manifest.json").read_text(encoding="utf-8"))
    assert batch.state == "done" and batch.errors == {}
    kept = {name: value for name, value in written["cases"]["a"].items() if name != "seen"}  # its result was looked at
    assert kept == done and written["cases"]["b"]["organs"][0].keys() >= done["organs"][0].keys()
    assert (folder / "output/b_segmentation.seg.nrrd").is_file()


def test_a_request_is_read_and_written_as_it_was() -> None:
    data = json.loads((OLD / "request.json").read_text(encoding="utf-8"))
    request = Request.read(OLD / "request.json")
    assert request.to_json() == data
    assert request.jobs[0].boxes["liver"] == Region.between((0, 0, 0), (10, 20, 30))
    assert asdict(request.jobs[0])["region"]["centre"] == (0.0, 0.0, 50.0)


def test_events_keep_their_fields(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "SAMoraLib", "predict", str(OLD / "data/cases/a/image.nii.gz"), "missing.nii.gz",
         "--model", str(CHECKPOINTS / "samora.safetensors"), "--output", str(tmp_path), "--json", "--device", "cpu"],
        capture_output=True, text=True, encoding="utf-8", check=False, cwd=ROOT).stdout
    events = {event["event"]: event for event in map(json.loads, said.splitlines())}
    for line in (OLD / "events.jsonl").read_text(encoding="utf-8").splitlines():
        before = json.loads(line)
        now = events[before["event"]]
        assert now.keys() >= before.keys()
        for name, organ in zip(now.get("organs", ()), before.get("organs", ()), strict=True):
            assert name.keys() >= organ.keys()
