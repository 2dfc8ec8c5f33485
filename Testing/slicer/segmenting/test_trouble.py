"""Runs that do not go well: cancelled, killed, out of room, refused; the scene stays as it was, in one sentence."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.card import read_card
from Testing.refusals import refusal
from Testing.slicer.full_disk import full_disk
from Testing.slicer.scene_volumes import ROTATION, add_volume, body, node_ids
from Testing.slicer.segmenting.watching import only_error, step_until

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


@pytest.mark.parametrize("moment", ["before the first step", "while loading", "while segmenting"])
def test_cancel_leaves_no_trace(run: Any, scene: Any, temporary: Path, moment: str) -> None:
    ours = run([add_volume(body(np.eye(3)))], "hangs")
    before = node_ids(scene)
    ours.start()
    if moment != "before the first step":
        step_until(ours, lambda: ours.stage == {"while loading": "loading the model"}.get(moment, "segmenting"))
    begin = time.monotonic()
    ours.cancel()
    assert time.monotonic() - begin < 2
    assert ours.state == "cancelled" and not ours.step() and not ours.errors
    assert node_ids(scene) == before and not list(temporary.iterdir())


def test_the_real_child_is_cancelled_within_two_seconds(run: Any, scene: Any, temporary: Path) -> None:
    ours = run([add_volume(body(np.eye(3), (400, 24, 28)))])
    before = node_ids(scene)
    ours.start()
    step_until(ours, lambda: ours.stage == "segmenting")
    begin = time.monotonic()
    ours.cancel()
    assert time.monotonic() - begin < 2
    assert ours.state == "cancelled" and node_ids(scene) == before and not list(temporary.iterdir())


@pytest.mark.parametrize("moment", ["loading the model", "segmenting"])
def test_closing_the_scene_cancels(run: Any, scene: Any, temporary: Path, moment: str) -> None:
    ours = run([add_volume(body(np.eye(3)))], "hangs")
    ours.start()
    step_until(ours, lambda: ours.stage == moment)
    scene.Clear(0)
    assert ours.state == "cancelled" and not ours.step() and not list(temporary.iterdir())
    assert not [name for name in node_ids(scene) if "Segmentation" in name]


def test_quitting_slicer_cancels(run: Any, slicer_app: Any, temporary: Path) -> None:
    ours = run([add_volume(body(np.eye(3)))], "hangs")
    ours.start()
    step_until(ours, lambda: ours.stage == "segmenting")
    slicer_app.fire("aboutToQuit()")
    assert ours.state == "cancelled" and not list(temporary.iterdir())


def test_an_interrupted_wait_cancels(run: Any, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = run([add_volume(body(np.eye(3)))], "hangs")
    ours.start()

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("SAMoraSlicer.segmenting.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ours.wait()
    assert ours.state == "cancelled" and not list(temporary.iterdir())


def test_waiting_has_an_end(run: Any) -> None:
    ours = run([add_volume(body(np.eye(3)))], "hangs")
    ours.start()
    assert not ours.wait(0.5) and ours.state == "running"


@needs_signals
@pytest.mark.parametrize(("behaviour", "message"), [
    ("is killed", "The program that segments was ended by the system (signal 9), most often because memory ran out;"),
    ("crashes", "The program that segments ended by itself (exit code 1); close other programs and try again, or ask"),
    ("ends without a word", "The program that segments ended by itself (exit code 0)"),
    ("writes nonsense", "'Leber' cannot be read; it is not a NRRD file"),
    ("runs out of memory", "'Leber' does not fit into memory; close programs."),
])
def test_a_child_in_trouble_is_one_sentence_and_an_unchanged_scene(run: Any, scene: Any, temporary: Path,
                                                                   behaviour: str, message: str) -> None:
    ours = run([add_volume(body(np.eye(3)), "Leber")], behaviour)
    before = node_ids(scene)
    ours.start()
    assert ours.wait(60) and ours.state == "failed"
    assert only_error(ours).startswith(message)
    assert node_ids(scene) == before and not list(temporary.iterdir())


def test_the_real_child_killed_from_outside(run: Any, scene: Any, temporary: Path) -> None:
    ours = run([add_volume(body(np.eye(3), (400, 24, 28)))])
    before = node_ids(scene)
    ours.start()
    step_until(ours, lambda: ours.stage == "segmenting")
    os.kill(ours._child.pid, signal.SIGKILL)
    assert ours.wait(10) and ours.state == "failed" and "signal 9" in only_error(ours)
    assert node_ids(scene) == before and not list(temporary.iterdir())


@needs_signals
def test_what_was_finished_before_the_end_stays(run: Any, scene: Any) -> None:
    nodes = [add_volume(body(np.eye(3))), add_volume(body(ROTATION))]
    ours = run(nodes, "is killed after the first")
    ours.start()
    assert ours.wait(60) and ours.state == "failed" and "signal 9" in only_error(ours)
    assert list(ours.results) == [nodes[0].GetID()]
    assert scene.GetNodeByID(ours.results[nodes[0].GetID()]["segmentation"])


def test_the_report_tells_what_happened_without_names(run: Any) -> None:
    ours = run([add_volume(body(np.eye(3)), "Müller")], "crashes")
    assert "idle" in ours.report()
    ours.start()
    ours.wait(60)
    report = ours.report()
    for fact in ("slicer: 5.", "model: small", "28 x 24 x 7", "failed, segmenting 50%", "exit code: 1",
                 "ZeroDivisionError: a bug"):
        assert fact in report, report
    assert "Müller" not in report


@pytest.mark.parametrize("change", ["removed", "resampled"])
def test_a_volume_that_changes_meanwhile_gets_no_result(run: Any, scene: Any, change: str) -> None:
    node = add_volume(body(np.eye(3)), "CT")
    ours = run([node], "works")
    ours.start()
    step_until(ours, lambda: ours.stage == "loading the model")
    if change == "removed":
        scene.RemoveNode(node)
    else:
        node.SetSpacing(1, 1, 1)
    assert ours.wait(60) and ours.state == "failed"
    assert only_error(ours).startswith(f"'CT' was {'removed' if change == 'removed' else 'changed'}")
    assert not [name for name in node_ids(scene) if "Segmentation" in name]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size exist on POSIX only")
def test_a_full_disk_is_one_sentence(run: Any, scene: Any, temporary: Path) -> None:
    ours = run([add_volume(body(np.eye(3), (20, 60, 60)))])
    before = node_ids(scene)
    with full_disk(20000):
        ours.start()
        assert ours.wait(10) and ours.state == "failed"
    assert "cannot be written to; free some space there" in only_error(ours)
    assert node_ids(scene) == before and not list(temporary.iterdir())


def test_a_missing_temporary_folder_is_one_sentence(run: Any, slicer_app: Any, temporary: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicer_app, "temporaryPath", str(temporary / "gone"))
    ours = run([add_volume(body(np.eye(3)))])
    ours.start()
    assert not ours.step() and ours.state == "failed"
    assert only_error(ours).startswith(f"The temporary folder '{temporary / 'gone'}' cannot be written to")


def test_a_missing_python_is_one_sentence(scene: Any, temporary: Path, checkpoint: Path) -> None:
    from SAMoraSlicer.segmenting import Segmenting

    ours = Segmenting([add_volume(body(np.eye(3)))], checkpoint, command=["no such program"])
    ours.start()
    assert ours.wait(10) and ours.state == "failed" and not list(temporary.iterdir())
    assert only_error(ours).startswith("'no such program' cannot be started")


def test_a_corrupt_checkpoint_is_refused_by_the_child(run: Any, scene: Any, checkpoint: Path, tmp_path: Path) -> None:
    """Its header is whole; its tensors are cut off."""
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(checkpoint.read_bytes()[:-1000])
    assert read_card(corrupt)
    ours = run([add_volume(body(np.eye(3)))], model=corrupt)
    before = node_ids(scene)
    ours.start()
    assert ours.wait(120) and ours.state == "failed" and node_ids(scene) == before
    assert "corrupt.safetensors" in only_error(ours)


def test_what_cannot_be_run_is_refused_at_once(run: Any, scene: Any, temporary: Path, tmp_path: Path) -> None:
    node, empty = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    other, output = add_volume(body(ROTATION)), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    (tmp_path / "broken.safetensors").write_bytes(b"broken")
    before = node_ids(scene)
    for make, message in [
        (lambda: run([]), "There is no volume to segment"),
        (lambda: run([node, empty]), "'Empty' holds no image"),
        (lambda: run([node], organs=["heart"]), "'heart' is not an organ of this model"),
        (lambda: run([node], organs=[]), "No organ is chosen"),
        (lambda: run([node], model=tmp_path / "broken.safetensors"), f"'{tmp_path / 'broken.safetensors'}' is not a"),
        (lambda: run([node, other], outputs=[output, output]), "Several volumes would be written"),
    ]:
        assert refusal(make).startswith(message)
    with pytest.raises(FileNotFoundError):
        run([node], model=tmp_path / "nowhere.safetensors")
    assert node_ids(scene) == before and not list(temporary.iterdir())
