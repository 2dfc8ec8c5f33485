"""The choice of the device, by the name that its maker gave it."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from SAMoraLib.system.signals import describe_exit
from SAMoraLib.system.untrusted_json import parse_json
from SAMoraSlicer import devices
from SAMoraSlicer.devices import AUTOMATIC, CPU, known_devices
from SAMoraSlicer.panel.settings import remembered
from SAMoraSlicer.process import ChildProcess, child_environment, python_command

DEVICE_SETTING, KNOWN_SETTING = "SAMora/Device", "SAMora/KnownDevices"


class DeviceChoice:
    """Combo box of devices, filled by a child process that loads torch; what it said is remembered for this torch.

    Args:
        ui: the panel's widgets.
        broken: called with the sentence that says why torch does not start, or with "".
        started: called when there is a child to `step`.
    """

    def __init__(self, ui: Any, broken: Callable[[str], None], started: Callable[[], None]) -> None:
        self.ui, self._broken, self._started = ui, broken, started
        self._child: ChildProcess | None = None
        self._heard = False  # whether it has answered
        ui.refreshDevicesButton.setIcon(qt.QApplication.style().standardIcon(qt.QStyle.SP_BrowserReload))
        self._show(self._remembered())
        ui.deviceSelector.connect("currentIndexChanged(int)", self._chosen)
        ui.refreshDevicesButton.connect("clicked(bool)", self.ask)

    @property
    def name(self) -> str:
        """What the request asks for, e.g. "auto" or "cuda:0"."""
        return self.ui.deviceSelector.currentData or AUTOMATIC

    @property
    def busy(self) -> bool:
        return self._child is not None

    def ask_once(self) -> None:
        """Ask which devices there are, unless this torch was asked before."""
        if not self._remembered():
            self.ask()

    def ask(self) -> None:
        """Start the child; `step` takes its answer."""
        if self._child is not None:
            return
        self._child, self._heard = ChildProcess(), False
        try:
            self._child.start([*python_command(), devices.__file__], child_environment())
        except OSError as error:
            self._child = None
            self._broken(str(error))
            return
        self.ui.refreshDevicesButton.enabled = False
        self._started()

    def step(self) -> None:
        """Take in the child's answer."""
        if self._child is None:
            return
        code = self._child.poll()
        for event in self._child.events():
            self._heard = True
            if event["event"] == "devices":
                found = known_devices(event["devices"])
                qt.QSettings().setValue(KNOWN_SETTING, json.dumps({"torch": _torch_version(), "devices": found}))
                self._show(found)
                self._broken("")
            elif event["event"] == "error":
                qt.QSettings().setValue(KNOWN_SETTING, "")  # asked again once it was installed anew
                self._broken(event["message"])
        if code is not None:
            self.stop()
            if not self._heard:  # not even an error: a driver that took the program down
                self._broken(_("PyTorch does not start: its test {how}; press Install to install it again.").format(
                    how=describe_exit(code)))

    def stop(self) -> None:
        """End the child, if one is running."""
        if self._child is not None:
            self._child.cancel()
            self._child = None
        self.ui.refreshDevicesButton.enabled = True

    def _remembered(self) -> list[tuple[str, str]]:
        """What this torch was once seen to offer; [] if it was never asked."""
        try:
            known = parse_json(remembered(KNOWN_SETTING))
        except ValueError:
            return []
        is_of_this_torch = isinstance(known, dict) and known.get("torch") == _torch_version()
        return known_devices(known.get("devices")) if is_of_this_torch else []

    def _show(self, found: Sequence[tuple[str, str]]) -> None:
        selector, wanted = self.ui.deviceSelector, remembered(DEVICE_SETTING, AUTOMATIC)
        first = f": {found[0][1]}" if found else ""
        blocked = selector.blockSignals(True)
        selector.clear()
        for name, title in [(AUTOMATIC, _("Automatic") + first), *(found or [(CPU, _("CPU"))])]:
            selector.addItem(title, name)
        selector.currentIndex = max(0, selector.findData(wanted))
        selector.blockSignals(blocked)

    def _chosen(self) -> None:
        qt.QSettings().setValue(DEVICE_SETTING, self.name)


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""
