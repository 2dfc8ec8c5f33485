"""The tab "Several volumes"."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer import harness

AddVolume = Callable[..., Any]


@pytest.fixture
def tab(widget: Any) -> Any:
    widget.ui.tabs.currentIndex = 1
    return widget


def wait_for_the_end(widget: Any) -> None:
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 90)


def choose_folders(tab: Any, source: Path, target: Path) -> None:
    tab.ui.batchSource.currentIndex = 1
    tab.ui.inputFolder.currentPath, tab.ui.outputFolder.currentPath = str(source), str(target)


def write_volumes(folder: Path, *names: str) -> None:
    import numpy as np

    from SAMoraLib.volume import Volume
    from SAMoraLib.volume.io import write_volume

    identity = tuple(np.eye(3).ravel().tolist())
    for name in names:
        volume = Volume(np.zeros((14, 12, 10), np.int16), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), identity)
        write_volume(volume, folder / name)


def test_an_empty_scene_says_what_to_do(tab: Any, add_volume: AddVolume) -> None:
    assert tab.ui.statusLabel.text.startswith("The scene holds no volume; load some")
    add_volume("a")
    tab.panel.refresh()
    assert tab.ui.statusLabel.text == "Check the volumes to segment." and not tab.ui.applyButton.enabled
    assert tab.ui.sceneVolumes.visible and not tab.ui.inputFolder.visible


def test_every_checked_volume_gets_a_segmentation(tab: Any, scene: Any, add_volume: AddVolume, child: Any) -> None:
    for name in ("Müller 1", "2"):
        add_volume(name)
    tab.panel.refresh()
    harness.click(tab.ui.statusButton)  # "All volumes"
    harness.click(tab.ui.applyButton)
    wait_for_the_end(tab)
    assert tab.ui.statusLabel.text.startswith("2 volumes segmented in ")
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2
    selector = tab.ui.resultSelector
    assert selector.visible and [selector.itemText(n) for n in range(selector.count)] == ["Müller 1", "2"]
    selector.currentIndex = 1
    assert tab.ui.resultsLabel.text.startswith("2: 7 of 8 organs found.")


def test_one_refused_volume_does_not_stop_the_others(tab: Any, scene: Any, add_volume: AddVolume, child: Any) -> None:
    child("refuses the first volume")
    for name in ("1", "2"):
        add_volume(name)
    harness.click(tab.ui.allVolumesButton)
    harness.click(tab.ui.applyButton)
    wait_for_the_end(tab)
    assert tab.ui.statusLabel.text == "1 of 2 done; 1: '1' holds voxels that are NaN; replace them."
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    assert not tab.ui.resultSelector.visible and tab.ui.resultsTable.rowCount == 8


def test_folders_are_asked_for_one_by_one(tab: Any, tmp_path: Path) -> None:
    import qt

    tab.ui.batchSource.currentIndex = 1
    assert tab.ui.statusLabel.text == "Choose the folder to read from."
    assert tab.ui.inputFolder.visible and not tab.ui.sceneVolumes.visible
    tab.ui.inputFolder.currentPath = str(tmp_path)
    assert tab.ui.statusLabel.text == "Choose the folder to write to." and not tab.ui.applyButton.enabled
    tab.ui.outputFolder.currentPath = str(tmp_path / "out")
    assert tab.ui.applyButton.enabled
    assert qt.QSettings().value("SAMora/BatchInput") == str(tmp_path)


@pytest.mark.parametrize(("source", "said"), [("nowhere", "There is no folder"), ("empty", "holds no volume")])
def test_a_wrong_folder_is_one_sentence(tab: Any, tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    choose_folders(tab, tmp_path / source, tmp_path / "out")
    harness.click(tab.ui.applyButton)
    assert said in tab.ui.statusLabel.text and tab.ui.statusLabel.text.endswith(".")
    assert tab.ui.applyButton.text == "Apply" and not (tmp_path / "out").exists()


def test_a_folder_is_segmented_into_another(tab: Any, tmp_path: Path, child: Any, scene: Any) -> None:
    source, target = tmp_path / "Bilder 画像", tmp_path / "aus"
    source.mkdir()
    write_volumes(source, "a.nrrd", "b.nii.gz")
    choose_folders(tab, source, target)
    before = scene.GetNumberOfNodes()
    harness.click(tab.ui.applyButton)
    wait_for_the_end(tab)
    assert tab.ui.statusLabel.text == f"2 files are done; segmentations and statistics.csv are in '{target}'."
    assert {"a_segmentation.seg.nrrd", "b_segmentation.seg.nrrd", "statistics.csv"} < {p.name for p in target.iterdir()}
    assert scene.GetNumberOfNodes() == before


def test_a_cancelled_folder_goes_on_the_next_time(tab: Any, tmp_path: Path, child: Any) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_volumes(source, "a.nrrd", "b.nrrd")
    choose_folders(tab, source, target)
    child("is slow")
    harness.click(tab.ui.applyButton)
    harness.wait_until(lambda: "segmenting" in tab.ui.progressBar.format, 60)
    harness.click(tab.ui.applyButton)
    assert tab.ui.statusLabel.text == "Cancelled; 0 of 2 files are done, and the next run goes on from there."
    child("refuses the first volume")
    harness.click(tab.ui.applyButton)
    wait_for_the_end(tab)
    assert tab.ui.statusLabel.text.startswith("1 of 2 done; a: 'a.nrrd' holds voxels that are NaN")
    assert tab.ui.statusButton.text == "Copy report"
    harness.click(tab.ui.statusButton)
    child("segments")
    harness.click(tab.ui.applyButton)
    wait_for_the_end(tab)
    assert tab.ui.statusLabel.text.startswith("2 files are done")
