"""The choice of the device: asked of a child process, remembered for one version of torch."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraSlicer import devices
from Testing.slicer import harness
from Testing.slicer.scripted_child import ScriptedChild

FOUND = [["cuda:0", "CUDA 0: Test"], ["cpu", "CPU, 4 cores"]]
KNOWN = "SAMora/KnownDevices"


def titles(selector: Any) -> list[str]:
    return [selector.itemText(row) for row in range(selector.count)]


def remember(found: list[list[str]], version: str | None = None) -> None:
    """As if a torch, this one by default, had been asked before."""
    import qt

    known = {"torch": version or importlib.metadata.version("torch"), "devices": found}
    qt.QSettings().setValue(KNOWN, json.dumps(known))


class Choice:
    """A choice on widgets of its own, what it said, and its children."""

    def __init__(self) -> None:
        import qt

        from SAMoraSlicer.panel.device import DeviceChoice

        self.children: list[ScriptedChild] = []
        self.broken: list[str] = []
        self.started = 0
        self.ui = SimpleNamespace(deviceSelector=qt.QComboBox(), refreshDevicesButton=qt.QToolButton())
        self.choice = DeviceChoice(self.ui, self.broken.append, self._count)

    def _count(self) -> None:
        self.started += 1

    def child(self) -> ScriptedChild:
        self.children.append(ScriptedChild())
        return self.children[-1]

    def answer(self, event: str, code: int = 0, **values: Any) -> None:
        self.children[-1].say(event, **values)
        self.children[-1].end(code)
        self.choice.step()


@pytest.fixture
def made(scene: Any, monkeypatch: pytest.MonkeyPatch) -> Choice:
    from SAMoraSlicer.panel import device

    one = Choice()
    monkeypatch.setattr(device, "ChildProcess", one.child)
    return one


def test_devices_have_names_and_the_choice_is_a_preference(widget: Any) -> None:
    import qt

    selector = widget.ui.deviceSelector
    assert titles(selector) == ["Automatic: CUDA 0: Test", "CUDA 0: Test", "CPU"]
    assert widget.panel.device.name == "auto"
    selector.currentIndex = 2
    assert widget.panel.device.name == "cpu" == qt.QSettings().value("SAMora/Device")


def test_devices_are_asked_for_in_another_process(widget: Any, child: Any) -> None:
    import qt

    qt.QSettings().setValue(KNOWN, "")
    widget.parent.exit()
    widget.parent.enter()
    assert widget.panel.device.busy and widget.panel.timer.isActive()
    harness.wait_until(lambda: not widget.panel.device.busy, 60)
    known = json.loads(qt.QSettings().value(KNOWN))
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


def test_before_the_first_answer_there_is_the_cpu(made: Choice) -> None:
    assert titles(made.ui.deviceSelector) == ["Automatic", "CPU"] and made.choice.name == "auto"
    made.ui.deviceSelector.currentIndex = 1
    assert made.choice.name == "cpu" and not made.choice.busy


def test_an_answer_is_shown_and_remembered(made: Choice) -> None:
    made.choice.ask_once()
    assert made.choice.busy and made.started == 1 and not made.ui.refreshDevicesButton.enabled
    assert made.children[0].command[-1] == devices.__file__
    made.answer("devices", devices=FOUND, torch="any")
    assert titles(made.ui.deviceSelector) == ["Automatic: CUDA 0: Test", "CUDA 0: Test", "CPU, 4 cores"]
    assert not made.choice.busy and made.ui.refreshDevicesButton.enabled and made.broken == [""]
    made.choice.ask_once()
    assert len(made.children) == 1, "this torch has been asked"
    assert titles(Choice().ui.deviceSelector) == titles(made.ui.deviceSelector), "after a restart, too"
    made.choice.ask()
    assert len(made.children) == 2 and made.choice.busy, "a person may ask again"


def test_while_a_child_is_asked_no_other_is_started(made: Choice) -> None:
    made.choice.ask()
    made.choice.ask()
    assert len(made.children) == 1 and made.started == 1
    made.choice.step()
    assert made.choice.busy and made.broken == [], "it has not answered"


@pytest.mark.parametrize("known", ["{", "[]", "{}", '{"torch": "0.0"}', "1"])
def test_a_damaged_memory_is_none(made: Choice, known: str) -> None:
    import qt

    qt.QSettings().setValue(KNOWN, known)
    made.choice.ask_once()
    assert len(made.children) == 1 and titles(Choice().ui.deviceSelector) == ["Automatic", "CPU"]


def test_another_torch_is_asked_anew(made: Choice) -> None:
    remember(FOUND, "0.0.1")
    assert titles(Choice().ui.deviceSelector) == ["Automatic", "CPU"]
    made.choice.ask_once()
    assert len(made.children) == 1


def test_a_torch_that_does_not_start_is_said_and_asked_again(made: Choice) -> None:
    import qt

    remember(FOUND)
    made.choice.ask()
    made.answer("error", 1, message="PyTorch does not start (no c10).")
    assert made.broken == ["PyTorch does not start (no c10)."] and not made.choice.busy
    assert qt.QSettings().value(KNOWN) == ""
    made.choice.ask_once()
    assert len(made.children) == 2


def test_a_child_that_dies_without_a_word_is_said(made: Choice) -> None:
    made.choice.ask()
    made.children[0].end(-11)
    made.choice.step()
    assert made.broken == ["PyTorch does not start: its test was ended by signal 11 (Segmentation fault); press "
                           "Install to install it again."]
    assert not made.choice.busy and made.ui.refreshDevicesButton.enabled


def test_words_of_an_earlier_child_are_not_those_of_the_next(made: Choice) -> None:
    made.choice.ask()
    made.answer("devices", devices=FOUND, torch="any")
    made.choice.ask()
    made.children[1].end(3)
    made.choice.step()
    assert made.broken[0] == "" and made.broken[1].startswith("PyTorch does not start: its test ended by itself")


def test_a_child_is_ended_and_its_answer_not_waited_for(made: Choice) -> None:
    made.choice.stop()
    made.choice.step()
    assert made.ui.refreshDevicesButton.enabled and made.broken == []
    made.choice.ask()
    made.choice.stop()
    assert made.children[0].cancelled and not made.choice.busy and made.ui.refreshDevicesButton.enabled


def test_the_chosen_device_stays_if_it_is_still_there(made: Choice) -> None:
    made.choice.ask()
    made.answer("devices", devices=FOUND, torch="any")
    made.ui.deviceSelector.currentIndex = 1
    made.choice.ask()
    made.answer("devices", devices=[["cpu", "CPU"], ["cuda:0", "CUDA 0: Test"]], torch="any")
    assert made.choice.name == "cuda:0" and made.ui.deviceSelector.currentIndex == 2
    made.choice.ask()
    made.answer("devices", devices=[["cpu", "CPU"]], torch="any")
    assert made.choice.name == "auto", "the card is gone"


def test_without_torch_nothing_is_known(made: Choice, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    remember(FOUND)
    monkeypatch.setattr(importlib.metadata, "version", absent)
    assert titles(Choice().ui.deviceSelector) == ["Automatic", "CPU"]
