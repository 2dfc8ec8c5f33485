"""The reference U-Net: what it takes and gives, and a run of it from files to a table."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.files import file_sha256
from Testing.closeness import assert_close
from Testing.small import CT
from Testing.training.conftest import Cases
from Testing.training.small_run import log_of
from Training import reference_unet
from Training.reference_unet import SliceUNet, train_and_evaluate
from Training.settings.optimisation import Optimisation
from Training.settings.stages import ReferenceUNet

CHANNELS = (4, 8, 16)


def config(cases: Cases, folder: Path, **changes: Any) -> ReferenceUNet:
    for number, case in enumerate("abc"):
        cases.add(case, seed=number)
    cases.manifest(folder, train="a", validation="b", test="c")
    quick = Optimisation(steps=2, batch_size=2, accelerator="cpu", devices=1, validate_every=2)
    return ReferenceUNet(folder / "run", folder / "manifest.json",
                         **({"preprocessing": CT, "channels": CHANNELS, "cache": folder / "cache",
                             "optimisation": quick} | changes))


def test_slabs_become_logits_of_their_own_size() -> None:
    prediction = SliceUNet(4, CHANNELS)(torch.rand(2, 1, 3, 16, 24))
    assert prediction.logits.shape == prediction.low_res_logits.shape == (2, 5, 3, 16, 24)
    assert prediction.iou_predictions is not None and prediction.iou_predictions.shape == (2, 5, 3)


def test_every_slice_is_seen_by_itself() -> None:
    torch.manual_seed(0)
    net, slabs = SliceUNet(2, CHANNELS).eval(), torch.rand(2, 1, 3, 16, 16)
    with torch.inference_mode():
        whole = net(slabs).logits
        for item in range(2):
            for number in range(3):
                alone = net(slabs[item:item + 1, :, number:number + 1]).logits
                assert_close(whole[item:item + 1, :, number:number + 1], alone)


def test_neighbours_are_further_channels() -> None:
    assert SliceUNet(2, CHANNELS, 3)(torch.rand(1, 3, 1, 16, 16)).logits.shape == (1, 3, 1, 16, 16)


def test_each_level_halves_the_last_and_none_is_left_over() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # MONAI's, of steps without a level
        net = SliceUNet(1, (4, 8, 16, 32))
    sides: list[int] = []
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    net(torch.rand(1, 1, 1, 32, 32))
    assert set(sides) == {32, 16, 8, 4}


def test_a_run_writes_weights_and_the_test_cases_table(cases: Cases, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    settings = config(cases, tmp_path)
    whole = train_and_evaluate(settings)
    written = json.loads((settings.output / "test" / "results.json").read_text(encoding="utf-8"))
    assert [result["case"] for result in written["results"]] == ["c"] and written["name"] == "MONAI U-Net"
    assert written["summary"] == json.loads(json.dumps(whole["summary"]))
    assert {path.name for path in (settings.output / "test" / "cases").iterdir()} == {"c.json", "c.nii.gz"}
    assert "liver" in capsys.readouterr().out
    assert [line["step"] for line in log_of(settings.output) if "validation_dice" in line] == [2]
    net = SliceUNet(4, CHANNELS)
    net.load_state_dict(torch.load(settings.output / "unet.pt", weights_only=True))


def test_stored_cases_belong_to_the_weights(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' are measured again: the key is that of the file."""
    keys: list[str] = []
    kept = reference_unet.evaluate_cases

    def evaluate_cases(*arguments: Any, **named: Any) -> Any:
        keys.append(named["key"])
        return kept(*arguments, **named)

    monkeypatch.setattr(reference_unet, "evaluate_cases", evaluate_cases)
    settings = config(cases, tmp_path)
    train_and_evaluate(settings)
    assert keys == [file_sha256(settings.output / "unet.pt")]


def test_a_share_of_the_slices_and_their_neighbours_are_trained_on(cases: Cases, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(reference_unet, "make_fabric", lambda _: SimpleNamespace(is_global_zero=False))
    monkeypatch.setattr(reference_unet, "fit", lambda *call: seen.append(call))
    around = Preprocessing("CT", "hu_window", -125, 275, "body", 32, neighbours=5.0)
    assert train_and_evaluate(config(cases, tmp_path, preprocessing=around, fraction=0.5)) == {}
    _, objective, slices, _, _, validate = seen[0]
    assert len(slices) == 3 and objective.resolution == "full" and validate is not None
    assert objective.model(slices[0, 0][0][None]).logits.shape == (1, 5, 1, 32, 32)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"], "one process writes the rest"
