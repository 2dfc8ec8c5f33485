"""The whole chain at toy length: phantoms, base, three experts, samed and samora, evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from SAMoraLib.card import read_card
from SAMoraLib.checkpoint import load_model, merge
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.demo.tissues import STRUCTURE
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import build_model
from SAMoraLib.variants import EXPERTS, FUSIONS
from SAMoraLib.volume.io import write_volume
from Testing.closeness import assert_close
from Training.evaluate import main as evaluate
from Training.prepare import main as prepare
from Training.pretrain_base import pretrain_base
from Training.settings.command_line import from_command_line
from Training.settings.stages import PretrainBase, Stage1Expert, Stage2
from Training.stage1_expert import train_expert
from Training.stage2_finetune import finetune, make_model

SIZE = 80
STEPS = ["--optimisation.steps", "2", "--optimisation.batch_size", "2", "--optimisation.accelerator", "cpu",
         "--optimisation.devices", "1", "--optimisation.threads", "1"]
PREPROCESSING = ["--preprocessing.modality", "CT", "--preprocessing.intensity", "hu_window", "--preprocessing.low",
                 "-160", "--preprocessing.high", "240", "--preprocessing.crop", "body", "--preprocessing.image_size",
                 str(SIZE)]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with manifest, base, experts and both models."""
    folder = tmp_path_factory.mktemp("chain")
    for seed in range(4):
        phantom = make_phantom(seed, (6.0, 6.0, 16.0))
        for kind, volume in (("imagesTr", phantom.ct), ("labelsTr", phantom.labels)):
            write_volume(volume, folder / "data" / kind / f"p{seed}.nii.gz")
    prepare(["--input", str(folder / "data"), "--output", str(folder), "--labels", "synapse", "--modality", "CT",
             "--split", "train=p0,p1", "validation=p2", "test=p3"])
    pretrain_base(from_command_line(PretrainBase, [
        "--output", str(folder / "base"), "--image_size", str(SIZE), "--phantoms", "1", "--workers", "1",
        "--cache", str(folder / "cache"), *STEPS]))
    common = ["--manifest", str(folder / "manifest.json"), "--base", str(folder / "base/base.safetensors"),
              "--cache", str(folder / "cache"), "--encoder", "tiny", *PREPROCESSING, *STEPS]
    for level in EXPERTS:
        train_expert(from_command_line(Stage1Expert, ["--output", str(folder / level), "--level", level, *common]))
    experts = json.dumps([str(folder / level / "expert.safetensors") for level in EXPERTS])
    for name, more in (("samed", []), ("samora", ["--experts", experts])):
        finetune(from_command_line(Stage2, ["--output", str(folder / name), "--variant", name,
                                            "--optimisation.validate_every", "2", *more, *common]))
    return folder


def test_an_organ_starts_from_the_tissue_that_is_named(chain: Path) -> None:
    config = stage2_of(chain, "--classes", '{"liver": "liver", "background": "muscle"}')
    labels, base = get_label_set("synapse"), load_file(config.base)
    model = make_model(config, labels).state_dict()
    for channel, name in ((0, "muscle"), (labels.by_name("liver").value, "liver")):
        for key in ("mask_tokens.weight", "output_hypernetworks_mlps.{}.layers.1.weight"):
            own, tissue = (f"mask_decoder.{key.format(number)}" for number in (channel, STRUCTURE[name]))
            rows = (channel, STRUCTURE[name]) if "tokens" in key else (slice(None), slice(None))
            assert torch.equal(model[own][rows[0]], base[tissue][rows[1]])
    assert not torch.equal(model["mask_decoder.mask_tokens.weight"][1],
                           base["mask_decoder.mask_tokens.weight"][STRUCTURE["spleen"]])


def test_a_tissue_that_the_base_does_not_know_is_refused(chain: Path) -> None:
    with pytest.raises(ValueError, match="knows no class 'livver' that liver could start from; choose from air, "):
        make_model(stage2_of(chain, "--classes", '{"liver": "livver"}'), get_label_set("synapse"))


def stage2_of(chain: Path, *more: str) -> Stage2:
    return from_command_line(Stage2, [
        "--output", str(chain / "unused"), "--variant", "samed", "--manifest", str(chain / "manifest.json"), "--base",
        str(chain / "base/base.safetensors"), "--encoder", "tiny", *PREPROCESSING, *more])


@pytest.mark.parametrize("name", ["samed", "samora"])
def test_a_model_predicts_on_the_volumes_own_grid(chain: Path, name: str) -> None:
    model, card = load_model(chain / name / "model.safetensors", base=chain / "base/base.safetensors")
    phantom = make_phantom(9, (6.0, 6.0, 16.0))
    found = Predictor(model, card).predict(phantom.ct)
    assert found.array.shape == phantom.ct.array.shape
    assert (found.spacing, found.origin, found.direction) == (phantom.ct.spacing, phantom.ct.origin,
                                                              phantom.ct.direction)
    assert found.array.max() <= len(card.labels or ())


def test_stage_2_of_samora_changes_fusion_and_decoder_alone(chain: Path) -> None:
    saved = load_file(chain / "samora/model.safetensors")
    experts = [load_file(chain / level / "expert.safetensors") for level in EXPERTS]
    for state in experts:
        assert all(torch.equal(saved[key], value) for key, value in state.items())
    others = {key for key in saved if not any(key in state for state in experts)}
    assert all(".hl_attn." in key or key.startswith("mask_decoder.") for key in others)
    assert any(".hl_attn." in key for key in others)


def test_cards_tell_where_a_model_comes_from(chain: Path) -> None:
    card = read_card(chain / "samora/model.safetensors")
    assert card.base is not None and card.base["name"] == "base.safetensors"
    assert [parent["name"] for parent in card.parents] == ["expert.safetensors"] * 3
    assert card.training["slices"] > 10
    assert card.labels is not None and card.labels.name == "synapse"


def test_a_merged_model_needs_no_base_and_predicts_the_same(chain: Path, tmp_path: Path) -> None:
    source = chain / "samora/model.safetensors"
    merge(source, tmp_path / "whole.safetensors", base=chain / "base/base.safetensors")
    image = torch.rand(1, 1, 1, SIZE, SIZE)
    with torch.inference_mode():
        first = load_model(source, base=chain / "base/base.safetensors")[0](image).logits
        second = load_model(tmp_path / "whole.safetensors")[0](image).logits
    assert_close(second, first)


def test_samora_without_all_experts_is_refused(chain: Path, tmp_path: Path) -> None:
    config = from_command_line(Stage2, [
        "--output", str(tmp_path), "--variant", "samora", "--manifest", str(chain / "manifest.json"), "--base",
        str(chain / "base/base.safetensors"), "--cache", str(chain / "cache"), "--encoder", "tiny", "--experts",
        json.dumps([str(chain / "image/expert.safetensors")]), *PREPROCESSING, *STEPS])
    with pytest.raises(ValueError, match="needs the experts image, patch, pixel, got image"):
        finetune(config)


def test_evaluation_writes_table_and_pictures(chain: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(["--manifest", str(chain / "manifest.json"), "--checkpoint", str(chain / "samed/model.safetensors"),
              "--base", str(chain / "base/base.safetensors"), "--output", str(tmp_path), "--pictures"])
    assert "liver" in capsys.readouterr().out
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [result["case"] for result in written["results"]] == ["p3"]
    assert (tmp_path / "cases/p3.png").stat().st_size > 10_000
    assert np.genfromtxt(tmp_path / "results.csv", delimiter=",", skip_header=1).shape[0] == 8


def test_an_expert_that_is_alone_works(chain: Path) -> None:
    """Table 5: its pairs are in the encoder, not beside it."""
    expert = ["--experts", json.dumps([str(chain / "pixel/expert.safetensors")]), "--alone", "pixel"]
    labels, image = get_label_set("synapse"), torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    alone = make_model(stage2_of(chain, "--variant", "samora", *expert), labels).eval().image_encoder
    bare = make_model(stage2_of(chain, "--variant", "sam"), labels).eval().image_encoder
    with torch.inference_mode():
        assert_close(alone(image), alone(image, "pixel"))
        assert not torch.equal(alone(image), bare(image))


@pytest.mark.parametrize("kind", FUSIONS)
def test_every_fusion_is_trained_in_stage_2(chain: Path, kind: str, tmp_path: Path) -> None:
    experts = json.dumps([str(chain / level / "expert.safetensors") for level in EXPERTS])
    finetune(from_command_line(Stage2, [
        "--output", str(tmp_path / kind), "--variant", "samora", "--fusion.kind", kind, "--experts", experts,
        "--manifest", str(chain / "manifest.json"), "--base", str(chain / "base/base.safetensors"),
        "--cache", str(chain / "cache"), "--encoder", "tiny", *PREPROCESSING, *STEPS]))
    model, card = load_model(tmp_path / kind / "model.safetensors", base=chain / "base/base.safetensors")
    assert card.variant is not None and card.variant.fusion is not None and card.variant.fusion.kind == kind
    saved = load_file(tmp_path / kind / "model.safetensors")
    own = {key: value for key, value in saved.items() if f".{kind}." in key}
    assert bool(own) == (kind != "lac"), "the mean of all has nothing to learn"
    untrained = build_model(card.variant, len(card.labels or ()), SIZE).state_dict()
    moved = [key for key, value in own.items() if len(untrained[key].unique()) == 1 and len(value.unique()) > 1]
    assert moved or not own, "what starts at a constant has left it"
    assert all(torch.equal(model.state_dict()[key], value) for key, value in own.items())
