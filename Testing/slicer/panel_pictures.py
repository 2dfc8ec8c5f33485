"""Pictures of the module for docs/: the panel's main states, and its result in slice and 3D views (``make panel``).

Everything in them really happened: the panel was clicked, a child process segmented the demonstration's phantom, and
Slicer's own displayable managers drew the scene.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume.io import write_volume
from Testing.folders import ROOT
from Testing.slicer import harness

MODULE = ROOT / "SAMora" / "SAMora.py"
SEED = 7
WIDTH = 480
MISSING = ["torch>=2.2", "torchvision>=0.17", "segment-anything>=1.0", "safetensors>=0.4"]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="panel_pictures", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the PNG files go")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SAMORA_WEIGHTS"] = "/home/user/SAMora models"  # the pictures are not to show this machine's
    harness.start()
    harness.load_module(MODULE)
    try:
        take_pictures(folder)
    finally:
        harness.unload_module("SAMora")
    if harness.slot_errors():
        raise harness.slot_errors()[0]


def take_pictures(folder: Path) -> None:
    widget = harness.make_widget("SAMora")

    def panel(name: str) -> None:
        print(harness.screenshot(widget.parent, folder / f"panel-{name}.png", width=WIDTH), flush=True)

    show_setup(widget, panel)
    settle(widget)
    panel("start")
    volume = add_phantom()
    widget.ui.inputSelector.setCurrentNode(volume)
    panel("ready")
    show_several(widget, panel)
    segment(widget, panel)
    panel("results")
    for made in (slices(volume, segmentation_of(volume), folder / "slices.png"), surfaces(folder / "surfaces.png")):
        print(made)


def show_setup(widget: Any, panel: Callable[[str], None]) -> None:
    """As on the first day: packages are missing, and the panel says what to do."""
    from SAMoraSlicer import dependencies

    with mock.patch.object(dependencies, "missing", lambda: MISSING):
        widget.parent.exit()
        widget.parent.enter()
        panel("setup")
    widget.parent.exit()
    widget.parent.enter()


def show_several(widget: Any, panel: Callable[[str], None]) -> None:
    widget.ui.tabs.currentIndex = 1
    panel("several")
    widget.ui.tabs.currentIndex = 0


def segment(widget: Any, panel: Callable[[str], None]) -> None:
    """Presses Apply, takes a picture on the way, and waits for the end."""
    harness.click(widget.ui.applyButton)
    harness.wait_until(lambda: widget.ui.progressBar.value > 20 or not running(widget), seconds=300)
    panel("running")
    harness.wait_until(lambda: not running(widget), seconds=600)


def running(widget: Any) -> bool:
    return widget.ui.applyButton.text == "Cancel"


def settle(widget: Any) -> None:
    """The child process that looks for devices ends."""
    harness.wait_until(lambda: widget.ui.refreshDevicesButton.enabled, seconds=120)


def add_phantom() -> Any:
    """The demonstration's abdomen as a volume node, with the usual window."""
    import slicer

    with tempfile.TemporaryDirectory(prefix="samora-pictures-") as folder:
        path = Path(folder) / "phantom.nrrd"
        write_volume(make_phantom(SEED).ct, path)
        volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "Abdomen CT")
    volume.GetDisplayNode().SetAutoWindowLevel(False)
    volume.GetDisplayNode().SetWindowLevel(400, 40)
    return volume


def segmentation_of(volume: Any) -> Any:
    """The segmentation node that the run added; RuntimeError if it added none."""
    import slicer

    found = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    if not found:
        raise RuntimeError(f"'{volume.GetName()}' was not segmented; the panel's picture says why.")
    return found[-1]


def slices(volume: Any, segmentation: Any, path: Path) -> Path:
    """An axial, a coronal and a sagittal slice through the liver, side by side."""
    from PySide6.QtGui import QImage, QPainter

    size, middle = 360, segmentation.GetSegmentCenterRAS("liver")
    row = QImage(3 * size, size, QImage.Format.Format_RGB32)
    painter = QPainter(row)
    with tempfile.TemporaryDirectory(prefix="samora-pictures-") as folder:
        for column, orientation in enumerate(("Axial", "Coronal", "Sagittal")):
            one = harness.render_slice(volume, Path(folder) / f"{orientation}.png", orientation, middle, size)
            painter.drawImage(column * size, 0, QImage(str(one)))
    painter.end()
    row.save(str(path))
    return path


def surfaces(path: Path) -> Path:
    """All organs in 3D, a little from the side."""
    import slicer

    for segmentation in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        segmentation.CreateClosedSurfaceRepresentation()
    return harness.render_3d(path, size=480, azimuth=20)


if __name__ == "__main__":
    main(sys.argv[1:])
