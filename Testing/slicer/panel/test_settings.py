"""Preferences, from a settings file that may say anything."""

from __future__ import annotations

import json
from typing import Any

import pytest

from Testing.slicer import harness

SETTINGS = ("Device", "KnownDevices", "Model", "Precision", "Skim", "BatchInput", "BatchOutput")
WRONG: list[Any] = [5, 1.5, ["a", "b"], [], True, None, b"\xff", {"a": 1}, "", "\0", "x" * 200_000, "<b>", "[" * 90_000,
                    '{"torch": NaN}', '{"devices": 5}', "[1]", '"text"', "5"]


def remember(name: str, value: Any) -> None:
    import qt

    qt.QSettings().setValue(f"SAMora/{name}", value)


def test_a_text_is_given_back(scene: Any) -> None:
    from SAMoraSlicer.panel.settings import remembered

    remember("Test", "/data/a, b")
    assert remembered("SAMora/Test") == "/data/a, b" and remembered("SAMora/None", "x") == "x"


@pytest.mark.parametrize("value", WRONG[:8] + WRONG[9:11], ids=repr)
def test_what_is_no_text_of_ours_is_the_default(scene: Any, value: Any) -> None:
    from SAMoraSlicer.panel.settings import remembered

    remember("Test", value)
    assert remembered("SAMora/Test", "default") == "default"


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:20])
def test_the_panel_opens_whatever_the_settings_say(module: Any, models_folder: Any, value: Any) -> None:
    for name in SETTINGS:
        remember(name, value)
    widget = harness.make_widget("SAMora")
    assert widget.ui.statusLabel.text and harness.slot_errors() == []
    assert widget.panel.device.name == "auto" and widget.panel.speed.chosen["precision"] == "full"
    widget.panel.stop()


@pytest.mark.parametrize("devices", [5, "cpu", [["--help", "x"]], [["cpu"]], [[["cpu"], {}]], {"cpu": 1}])
def test_remembered_devices_are_devices(module: Any, models_folder: Any, devices: Any) -> None:
    import importlib.metadata

    remember("KnownDevices", json.dumps({"torch": importlib.metadata.version("torch"), "devices": devices}))
    remember("Device", "--help")
    widget = harness.make_widget("SAMora")
    selector = widget.ui.deviceSelector
    assert [selector.itemData(row) for row in range(selector.count)] == ["auto", "cpu"]
    widget.panel.stop()
