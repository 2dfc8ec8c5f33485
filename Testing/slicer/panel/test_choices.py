"""What may be chosen: volume, region, model, organs, device, speed; kept with the scene or as a preference."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_checkpoint

AddVolume = Callable[..., Any]


def items(widget: Any) -> list[Any]:
    organs = widget.ui.organsList
    return [organs.item(row) for row in range(organs.count)]


def checked(widget: Any) -> list[str]:
    import qt

    return [item.text() for item in items(widget) if item.checkState() == qt.Qt.Checked]


def uncheck(widget: Any, title: str) -> None:
    import qt

    next(item for item in items(widget) if item.text() == title).setCheckState(qt.Qt.Unchecked)


def test_an_empty_scene_says_what_to_do(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert widget.ui.statusLabel.text == "Load a CT or MR volume." and not widget.ui.applyButton.enabled
    harness.click(widget.ui.statusButton)  # without a main window there is nothing to open, and nothing happens
    import slicer

    opened: list[bool] = []
    manager = SimpleNamespace(openAddDataDialog=lambda: opened.append(True))
    monkeypatch.setattr(slicer.util, "mainWindow", lambda: widget.parent)
    monkeypatch.setattr(slicer.app, "ioManager", lambda: manager, raising=False)
    harness.click(widget.ui.statusButton)
    assert opened == [True]


def test_the_first_volume_is_taken(widget: Any, add_volume: AddVolume) -> None:
    volume = add_volume()
    add_volume("second")
    assert widget.ui.inputSelector.currentNode() == volume == widget.panel.parameters.inputVolume
    assert widget.ui.statusLabel.text.startswith("Ready") and widget.ui.applyButton.enabled
    assert not widget.ui.statusButton.visible


def test_removing_the_volume_is_noticed(widget: Any, scene: Any, add_volume: AddVolume) -> None:
    scene.RemoveNode(add_volume())
    assert widget.ui.statusLabel.text == "Load a CT or MR volume." and not widget.ui.applyButton.enabled


def test_a_volume_that_becomes_usable_is_noticed(widget: Any, add_volume: AddVolume) -> None:
    volume = add_volume()
    volume.SetIJKToRASDirections(1, 0.3, 0, 0, 1, 0, 0, 0, 1)
    assert not widget.ui.applyButton.enabled
    volume.SetIJKToRASDirections(1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert widget.ui.applyButton.enabled


def test_a_new_region_lies_around_the_volume(widget: Any, add_volume: AddVolume) -> None:
    volume = add_volume()
    volume.SetOrigin(-30, 40, 50)
    region = widget.ui.regionSelector.addNode()
    assert region.GetName().startswith("Region") and widget.panel.parameters.region == region
    bounds, wanted = [0.0] * 6, [0.0] * 6
    region.GetRASBounds(bounds)
    volume.GetRASBounds(wanted)
    assert bounds == pytest.approx(wanted)
    region.SetSize(1, 2, 3)
    widget.ui.regionSelector.setCurrentNode(None)
    widget.ui.regionSelector.setCurrentNode(region)
    assert list(region.GetSize()) == [1, 2, 3], "a region that was drawn is left alone"


def test_organs_are_those_of_the_models_card(widget: Any) -> None:
    assert checked(widget) == ["Spleen", "Right kidney", "Left kidney", "Gallbladder", "Liver", "Stomach", "Aorta",
                               "Pancreas"]
    assert widget.panel.models.organs is None, "all of them"


def test_unchecked_organs_are_remembered_with_the_scene(widget: Any, add_volume: AddVolume) -> None:
    add_volume()
    uncheck(widget, "Spleen")
    assert widget.panel.parameters.skippedOrgans == ["spleen"]
    assert "spleen" not in widget.panel.models.organs and len(widget.panel.models.organs) == 7
    harness.click(widget.ui.noOrgansButton)
    assert widget.ui.statusLabel.text == "No organ is checked." and not widget.ui.applyButton.enabled
    harness.click(widget.ui.statusButton)
    assert widget.panel.models.organs is None and widget.ui.applyButton.enabled
    harness.click(widget.ui.noOrgansButton)
    harness.click(widget.ui.allOrgansButton)
    assert widget.panel.parameters.skippedOrgans == []


def test_a_script_may_change_the_parameter_node(widget: Any, add_volume: AddVolume, models_folder: Path) -> None:
    add_volume()
    second = add_volume("second")
    write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    node = widget.logic.getParameterNode()
    node.inputVolume, node.model, node.skippedOrgans = second, "own", ["liver"]
    assert widget.ui.inputSelector.currentNode() == second
    assert widget.ui.modelSelector.currentText == "own" and "Liver" not in checked(widget)


def test_a_saved_scene_brings_its_choices_back(widget: Any, scene: Any, add_volume: AddVolume, tmp_path: Path) -> None:
    add_volume("first")
    widget.ui.inputSelector.setCurrentNode(add_volume("second"))
    uncheck(widget, "Aorta")
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    assert len(checked(widget)) == 8 and widget.ui.inputSelector.currentNode() is None
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Connect()
    assert "Aorta" not in checked(widget)
    assert widget.ui.inputSelector.currentNode().GetName() == "second"


def test_the_last_model_is_the_next_scenes_default(widget: Any, scene: Any, models_folder: Path) -> None:
    write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    widget.panel.models.select("own")
    scene.Clear(0)
    assert widget.panel.models.model.id == "own"
    assert "CT · 8 organs" in widget.ui.modelInfo.text and "CC-BY-4.0" in widget.ui.modelInfo.text


def test_a_model_of_the_scene_that_is_not_here_is_asked_for_and_not_exchanged(widget: Any) -> None:
    widget.panel.parameters.model = "gone"
    assert widget.panel.models.model is None and not widget.ui.applyButton.enabled
    assert widget.ui.statusLabel.text.startswith("The scene's model 'gone' is not on this computer; choose another")
    widget.panel.models.select("demonstration")
    assert widget.panel.models.model.id == "demonstration"


def test_devices_have_names_and_the_choice_is_a_preference(widget: Any) -> None:
    import qt

    selector = widget.ui.deviceSelector
    assert [selector.itemText(n) for n in range(selector.count)] == ["Automatic: CUDA 0: Test", "CUDA 0: Test", "CPU"]
    assert widget.panel.device.name == "auto"
    selector.currentIndex = 2
    assert widget.panel.device.name == "cpu" == qt.QSettings().value("SAMora/Device")


def test_speed_is_a_preference_and_goes_into_the_request(widget: Any, add_volume: AddVolume, child: Any,
                                                         models_folder: Path) -> None:
    import qt

    from SAMoraSlicer.panel.speed import SpeedChoice

    assert widget.panel.speed.chosen == {"precision": "full", "skim": 1}
    widget.ui.precisionSelector.currentIndex, widget.ui.skimSelector.currentIndex = 1, 2
    assert (qt.QSettings().value("SAMora/Precision"), qt.QSettings().value("SAMora/Skim")) == ("half", "4")
    after_a_restart = SimpleNamespace(precisionSelector=qt.QComboBox(), skimSelector=qt.QComboBox())
    assert SpeedChoice(after_a_restart).chosen == {"precision": "half", "skim": 4}
    add_volume()
    asked = written_request(widget)
    assert (asked["precision"], asked["skim"], asked["device"]) == ("half", 4, "auto")


def test_the_panel_offers_what_a_request_takes(widget: Any) -> None:
    from SAMoraLib.request import PRECISIONS

    selector = widget.ui.precisionSelector
    assert tuple(selector.itemData(row) for row in range(selector.count)) == PRECISIONS


def written_request(widget: Any) -> dict[str, Any]:
    """What the panel's next run asks its child."""
    from SAMoraSlicer import segmenting

    written: list[dict[str, Any]] = []
    write = segmenting.Request.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmenting.Request, "write",
                      lambda request, path: (written.append(request.to_json()), write(request, path)))
        harness.click(widget.ui.applyButton)
        harness.wait_until(lambda: bool(written), 60)
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)
    return written[0]


def test_devices_are_asked_for_in_another_process(widget: Any, child: Any) -> None:
    import qt

    qt.QSettings().setValue("SAMora/KnownDevices", "")
    widget.parent.exit()
    widget.parent.enter()
    assert widget.panel.device.busy and widget.panel.timer.isActive()
    harness.wait_until(lambda: not widget.panel.device.busy, 60)
    known = json.loads(qt.QSettings().value("SAMora/KnownDevices"))
    selector = widget.ui.deviceSelector
    assert [name for name, _ in known["devices"]][-1] == "cpu"
    assert selector.itemText(selector.count - 1) == known["devices"][-1][1]
    assert widget.ui.refreshDevicesButton.enabled and not widget.panel.timer.isActive()


def test_a_python_that_cannot_be_started_is_one_sentence(widget: Any, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    from SAMoraSlicer.panel import device

    monkeypatch.setattr(device, "python_command", lambda: [str(tmp_path / "PythonSlicer")])
    harness.click(widget.ui.refreshDevicesButton)
    assert "cannot be started" in widget.ui.statusLabel.text and widget.ui.statusLabel.text.endswith(".")
    assert not widget.panel.device.busy
