"""Where each expert alone is right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from SAMoraLib.checkpoint import save_model
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.variants import EXPERTS
from SAMoraLib.volume.io import read_volume
from Testing.refusals import refusal
from Testing.small import small_card, small_model
from Testing.training.conftest import Cases
from Training import complementarity
from Training.complementarity import segment_with_each, shares


def test_shares_by_hand() -> None:
    """Eight voxels: six of the reference, one where the whole model alone finds something, one of background."""
    reference = np.array([1, 1, 1, 2, 2, 2, 0, 0])
    found = {"fused": np.array([1, 1, 0, 2, 2, 1, 1, 0]), "image": np.array([1, 0, 0, 2, 2, 0, 0, 0]),
             "patch": np.array([0, 1, 0, 2, 1, 0, 0, 1]), "pixel": np.array([0, 0, 0, 2, 2, 0, 1, 0])}
    told = {name: 7 * share for name, share in shares(found, reference).items()}
    assert told == pytest.approx({"fused": 4, "image": 4, "patch": 3, "pixel": 2, "only image": 1, "only patch": 1,
                                  "only pixel": 0, "all": 1, "none": 2})


def test_nothing_there_and_nothing_found_is_no_share() -> None:
    nothing = np.zeros(4, int)
    assert set(shares(dict.fromkeys(("fused", *EXPERTS), nothing), nothing).values()) == {0.0}


@pytest.fixture
def files(cases: Cases, tmp_path: Path) -> list[str]:
    cases.add("a")
    cases.manifest(tmp_path, test="a")
    model = small_model("samora")
    save_model(tmp_path / "m.safetensors", model, small_card(model.variant))
    return ["--checkpoint", str(tmp_path / "m.safetensors"), "--manifest", str(tmp_path / "manifest.json")]


def test_each_expert_segments_without_the_others(files: list[str], tmp_path: Path) -> None:
    volume = read_volume(tmp_path / "data" / "a" / "image.nii.gz")
    model = small_model("samora")
    predictor = Predictor(model, small_card(model.variant))
    found = segment_with_each(predictor, volume)
    assert list(found) == ["fused", *EXPERTS] and np.array_equal(found["fused"], predictor.predict(volume).array)
    for name, pair in model.named_parameters():
        if name.endswith(".b") and ".lora.pixel." not in name:
            with torch.no_grad():
                pair.zero_()
    assert np.array_equal(found["pixel"], predictor.predict(volume).array)
    assert not np.array_equal(found["pixel"], found["fused"])


def test_one_line_of_json_and_a_picture(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    complementarity.main([*files, "--case", "a", "--json", "--picture", str(tmp_path / "p.png")])
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"fused", *EXPERTS, *(f"only {name}" for name in EXPERTS), "all", "none"}
    assert (tmp_path / "p.png").exists()
    complementarity.main([*files, "--case", "a"])
    assert capsys.readouterr().out.splitlines()[2] == f"| fused | {told['fused']:.2%} |"


def test_an_unknown_case_and_a_model_without_experts_are_refused(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        complementarity.main([*files, "--case", "b"])
    assert str(stop.value.code).endswith("has no case 'b'; choose from a.")
    model = small_model("samed")
    predictor = Predictor(model, small_card(model.variant))
    volume = read_volume(tmp_path / "data" / "a" / "image.nii.gz")
    assert refusal(lambda: segment_with_each(predictor, volume)).startswith("'samed' has no experts; give")
