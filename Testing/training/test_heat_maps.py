"""What models look at, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.checkpoint import save_model
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.volume.io import read_volume
from Testing.small import small_card, small_model
from Testing.training.conftest import Cases
from Testing.training.reports.drawn_figures import saved_figures
from Training import heat_maps


@pytest.fixture
def volume(cases: Cases, tmp_path: Path) -> str:
    cases.add("a")
    return str(tmp_path / "data" / "a" / "image.nii.gz")


def checkpoint(folder: Path, name: str) -> str:
    model = small_model(name)
    save_model(folder / f"{name}.safetensors", model, small_card(model.variant))
    return str(folder / f"{name}.safetensors")


def test_a_panel_for_the_slice_and_one_for_each_model(tmp_path: Path, volume: str,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    models = [f"{name}={checkpoint(tmp_path, name)}" for name in ("samed", "samora")]
    heat_maps.main([volume, *models, "--slice", "3", "--output", str(tmp_path / "heat.png")])
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == ["slice 3", "samed", "samora"]
    assert [len(axis.images) for axis in axes] == [1, 2, 2] and (tmp_path / "heat.png").exists()
    first, second = (np.asarray(axis.images[1].get_array()) for axis in axes[1:])
    assert not np.allclose(first, second)


def test_the_slice_with_most_is_taken(tmp_path: Path, volume: str, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    image = read_volume(volume)
    found = np.zeros(image.array.shape, np.uint8)
    found[2, :3], found[4, :7] = 1, 2
    monkeypatch.setattr(Predictor, "predict", lambda self, given: given.with_array(found))
    heat_maps.main([volume, checkpoint(tmp_path, "samed"), "--output", str(tmp_path / "heat.png")])
    assert [axis.get_title() for axis in figures[0].axes] == ["slice 4", "samed"]


def test_two_models_of_one_name_are_refused(tmp_path: Path, volume: str) -> None:
    with pytest.raises(SystemExit) as stop:
        heat_maps.main([volume, "a/model.safetensors", "b/model.safetensors", "--output", str(tmp_path / "h.png")])
    assert str(stop.value.code).startswith("Two models are called 'model'; give each a name of its own")


@pytest.mark.parametrize(("name", "number", "message"), [
    ("samed", "6", "There is no slice 6; choose from 0 to 5."),
    ("samed", "-1", "There is no slice -1; choose from 0 to 5."),
    ("ma_sam", "1", "'ma_sam' does not look at single slices; give a checkpoint that does, such as samed's or "
                    "samora's.")])
def test_what_cannot_be_drawn_is_refused(tmp_path: Path, volume: str, name: str, number: str, message: str) -> None:
    with pytest.raises(SystemExit) as stop:
        heat_maps.main([volume, checkpoint(tmp_path, name), f"--slice={number}", "--output", str(tmp_path / "h.png")])
    assert stop.value.code == message and not (tmp_path / "h.png").exists()
