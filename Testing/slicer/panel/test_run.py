"""Apply, Cancel, and all that can go wrong in between: one sentence, and the scene as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_checkpoint

Child = Callable[[str], None]
AddVolume = Callable[..., Any]


def nodes(scene: Any) -> list[str]:
    return [scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())]


def press_apply(widget: Any) -> None:
    assert widget.ui.applyButton.text == "Apply" and widget.ui.applyButton.enabled, widget.ui.statusLabel.text
    harness.click(widget.ui.applyButton)


def wait_for_the_end(widget: Any) -> None:
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)


def wait_for_work(widget: Any) -> None:
    harness.wait_until(lambda: "segmenting" in widget.ui.progressBar.format, 60)


def is_one_sentence(text: str) -> bool:
    return bool(text) and text.endswith(".") and "\n" not in text and "Traceback" not in text


def test_apply_brings_segments_and_a_table(widget: Any, scene: Any, add_volume: AddVolume, child: Child,
                                           temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = tmp_path / "go on"
    monkeypatch.setenv("SAMORA_TEST_GO_ON", str(go_on))
    child("waits")  # else it may be done before the panel looks
    add_volume("Bauch 腹部")
    press_apply(widget)
    assert widget.ui.applyButton.text == "Cancel" and widget.ui.progressBar.visible
    assert not widget.ui.tabs.enabled and not widget.ui.modelSection.enabled
    wait_for_work(widget)
    assert widget.ui.progressBar.value == 30 and "%p %" in widget.ui.progressBar.format
    go_on.touch()
    wait_for_the_end(widget)
    segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    assert segmentation.GetName() == "Bauch 腹部 segmentation"
    assert {"spleen", "liver"} < set(segmentation.GetSegmentation().GetSegmentIDs())
    assert widget.ui.statusLabel.text.startswith("7 of 8 organs found in ")
    assert not widget.ui.progressBar.visible and widget.ui.tabs.enabled
    assert widget.ui.resultsTable.rowCount == 8
    assert widget.ui.resultsTable.item(7, 1).text() == "not found"
    assert list(temporary.iterdir()) == []


def test_unchecked_organs_are_not_asked_for(widget: Any, scene: Any, add_volume: AddVolume, child: Child) -> None:
    add_volume()
    widget.panel.parameters.skippedOrgans = [name for name in widget.panel.models.model.organs if name != "liver"]
    press_apply(widget)
    wait_for_the_end(widget)
    segments = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode").GetSegmentation()
    assert list(segments.GetSegmentIDs()) == ["liver"] and widget.ui.resultsTable.rowCount == 1


def test_a_second_apply_makes_a_second_segmentation_unless_one_is_chosen(widget: Any, scene: Any, add_volume: AddVolume,
                                                                         child: Child) -> None:
    add_volume()
    for expected, output in ((1, None), (2, None), (2, "first")):
        if output:
            widget.ui.outputSelector.setCurrentNode(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
        press_apply(widget)
        wait_for_the_end(widget)
        assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == expected


def test_cancel_ends_within_two_seconds_and_changes_nothing(widget: Any, scene: Any, add_volume: AddVolume,
                                                            child: Child, temporary: Path) -> None:
    add_volume()
    child("is slow")
    before = nodes(scene)
    press_apply(widget)
    wait_for_work(widget)
    process = widget.panel.run.work.run._child
    started = time.monotonic()
    harness.click(widget.ui.applyButton)
    assert time.monotonic() - started < 2 and process.poll() is not None
    assert widget.ui.statusLabel.text == "Cancelled; the scene is unchanged."
    assert nodes(scene) == before and list(temporary.iterdir()) == []
    assert widget.ui.applyButton.text == "Apply" and widget.ui.applyButton.enabled
    assert not widget.panel.timer.isActive()


@pytest.mark.parametrize(("mode", "said"), [
    ("is killed", "was ended by the system (signal 9), most often because memory ran out"),
    ("crashes", "ended by itself (exit code 3)"),
    ("refuses the model", "The tensors of 'model' cannot be read; download or export it again."),
    ("refuses the first volume", "'Leber' holds voxels that are NaN; replace them."),
])
def test_a_child_that_fails_is_one_sentence(widget: Any, scene: Any, add_volume: AddVolume, child: Child,
                                            temporary: Path, mode: str, said: str) -> None:
    add_volume("Leber")
    child(mode)
    before = nodes(scene)
    press_apply(widget)
    wait_for_the_end(widget)
    assert said in widget.ui.statusLabel.text and is_one_sentence(widget.ui.statusLabel.text)
    assert nodes(scene) == before and list(temporary.iterdir()) == []
    assert widget.ui.statusButton.visible and widget.ui.statusButton.text == "Copy report"
    assert said in widget.ui.log.plainText
    harness.click(widget.ui.statusButton)
    import qt

    report = qt.QApplication.clipboard().text()
    assert "exit code:" in report and "Leber" not in report
    assert mode != "crashes" or "Segmentation fault in a driver" in report


def test_memory_that_ran_short_is_told_and_the_result_comes(widget: Any, scene: Any, add_volume: AddVolume,
                                                            child: Child) -> None:
    add_volume("Leber")
    child("runs short of memory")
    press_apply(widget)
    wait_for_the_end(widget)
    assert "Memory ran out on cuda:0; 'Leber' starts again with 4 slices at once." in widget.ui.log.plainText
    assert widget.ui.statusLabel.text.startswith("7 of 8 organs found")


def test_closing_the_scene_cancels(widget: Any, scene: Any, add_volume: AddVolume, child: Child,
                                   temporary: Path) -> None:
    add_volume()
    child("is slow")
    press_apply(widget)
    wait_for_work(widget)
    process = widget.panel.run.work.run._child
    scene.Clear(0)
    assert process.poll() is not None and list(temporary.iterdir()) == []
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert "Cancelled, because the scene was closed." in widget.ui.log.plainText
    assert widget.ui.statusLabel.text == "Load a CT or MR volume." and widget.ui.applyButton.text == "Apply"
    add_volume("after")
    assert widget.ui.applyButton.enabled


def test_quitting_slicer_cancels(widget: Any, scene: Any, add_volume: AddVolume, child: Child, temporary: Path,
                                 slicer_app: Any) -> None:
    add_volume()
    child("is slow")
    press_apply(widget)
    wait_for_work(widget)
    process = widget.panel.run.work.run._child
    slicer_app.fire("aboutToQuit()")
    assert process.poll() is not None and list(temporary.iterdir()) == []


def test_a_volume_that_goes_while_it_is_segmented(widget: Any, scene: Any, add_volume: AddVolume, child: Child) -> None:
    volume = add_volume("Leber")
    press_apply(widget)
    scene.RemoveNode(volume)
    wait_for_the_end(widget)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    assert "'Leber' was removed from the scene" in widget.ui.log.plainText


def test_work_goes_on_while_another_module_is_shown(widget: Any, scene: Any, add_volume: AddVolume,
                                                    child: Child) -> None:
    add_volume()
    press_apply(widget)
    widget.parent.exit()
    wait_for_the_end(widget)
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1
    widget.parent.enter()
    assert widget.ui.resultsTable.rowCount == 8


def test_a_temporary_folder_that_cannot_be_written(widget: Any, scene: Any, add_volume: AddVolume, child: Child,
                                                   tmp_path: Path, slicer_app: Any, monkeypatch: pytest.MonkeyPatch
                                                   ) -> None:
    add_volume()
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(slicer_app, "temporaryPath", str(tmp_path / "file"))
    before = nodes(scene)
    press_apply(widget)
    wait_for_the_end(widget)
    assert "cannot be written to" in widget.ui.statusLabel.text and is_one_sentence(widget.ui.statusLabel.text)
    assert nodes(scene) == before


def test_a_full_disk(widget: Any, scene: Any, add_volume: AddVolume, child: Child, temporary: Path) -> None:
    resource = pytest.importorskip("resource", reason="limits on the size of files are POSIX")
    add_volume("CT", (60, 128, 128))
    before = nodes(scene)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # no file can grow further, as on a full disk
    try:
        press_apply(widget)
        wait_for_the_end(widget)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert is_one_sentence(widget.ui.statusLabel.text) and "free some space" in widget.ui.statusLabel.text
    assert nodes(scene) == before and list(temporary.iterdir()) == []


def test_a_model_that_vanishes_before_apply(widget: Any, scene: Any, add_volume: AddVolume, child: Child,
                                            models_folder: Path) -> None:
    add_volume()
    path = write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    widget.panel.models.select("own")
    path.unlink()
    press_apply(widget)
    assert is_one_sentence(widget.ui.statusLabel.text) and "There is no checkpoint" in widget.ui.statusLabel.text
    assert widget.ui.applyButton.text == "Apply"


@pytest.mark.parametrize(("damage", "said"), [
    (lambda volume: volume.SetAndObserveImageData(None), "'CT' holds no image; load its file again"),
    (lambda volume: volume.SetIJKToRASDirections(1, 0.3, 0, 0, 1, 0, 0, 0, 1), "not at right angles"),
])
def test_an_unusable_volume_is_said_before_apply(widget: Any, add_volume: AddVolume, damage: Callable[[Any], None],
                                                 said: str) -> None:
    volume = add_volume()
    damage(volume)
    widget.panel.refresh()
    assert said in widget.ui.statusLabel.text and is_one_sentence(widget.ui.statusLabel.text)
    assert not widget.ui.applyButton.enabled and widget.ui.applyButton.toolTip == widget.ui.statusLabel.text


def test_an_empty_region_is_one_sentence(widget: Any, scene: Any, add_volume: AddVolume, child: Child) -> None:
    add_volume()
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
    region.SetCenterWorld(0, 0, 0)
    region.SetSize(0, 10, 10)
    widget.ui.regionSelector.setCurrentNode(region)
    region.SetSize(0, 10, 10)
    press_apply(widget)
    assert is_one_sentence(widget.ui.statusLabel.text) and widget.ui.applyButton.text == "Apply"


def test_a_message_goes_when_something_else_is_chosen(widget: Any, add_volume: AddVolume, child: Child) -> None:
    add_volume()
    child("crashes")
    press_apply(widget)
    wait_for_the_end(widget)
    widget.ui.inputSelector.setCurrentNode(add_volume("other"))
    assert widget.ui.statusLabel.text.startswith("Ready") and not widget.ui.statusButton.visible


class ScriptedRun:
    """Work that a test leads; it is its own run, too."""

    def __init__(self) -> None:
        self.title, self.state, self.stage = "Leber", "idle", ""
        self.private: list[Any] = []
        self.errors: dict[str | None, str] = {}
        self.notices: list[str] = []
        self.fraction, self.seconds_left = 0.0, None
        self.run = self

    def start(self) -> None:
        self.state = "running"

    def step(self) -> bool:
        return self.state == "running"

    def cancel(self) -> None:
        self.state = "cancelled"

    def report(self) -> str:
        return f"state: {self.state}"

    def results(self) -> list[Any]:
        return []

    def outcome(self) -> str:
        return f"It is {self.state}."


@pytest.fixture
def work(widget: Any, add_volume: AddVolume) -> ScriptedRun:
    """Work that has been started in the panel, whose timer does not go."""
    add_volume()
    made = ScriptedRun()
    widget.panel.run.start(lambda: made)
    widget.panel.refresh()
    return made


def log(widget: Any) -> list[str]:
    return widget.ui.log.plainText.splitlines()


def end(widget: Any, work: ScriptedRun, state: str = "done", **errors: str) -> None:
    work.state, work.errors = state, dict(errors)
    widget.panel.step()


def test_before_the_first_run_there_is_no_report(widget: Any) -> None:
    import qt

    assert not widget.ui.copyReportButton.enabled and not widget.ui.progressBar.visible
    qt.QApplication.clipboard().setText("mine")
    widget.panel.run.copy_report()
    widget.panel.run.cancel()
    widget.panel.run.step()
    assert qt.QApplication.clipboard().text() == "mine" and log(widget) == [] and not widget.panel.run.busy


@pytest.mark.parametrize(("fraction", "value"), [(0.0, 0), (0.3, 30), (0.996, 99), (1.0, 100)])
def test_the_bar_shows_what_is_done(widget: Any, work: ScriptedRun, fraction: float, value: int) -> None:
    work.fraction = fraction
    widget.panel.refresh()
    assert widget.ui.progressBar.value == value and widget.ui.progressBar.visible


@pytest.mark.parametrize(("stage", "left", "said"), [
    ("", None, "starting, %p %"), ("reading", None, "reading, %p %"),
    ("reading", 180.0, "reading, %p %, about 3 min left"), ("reading", 0.0, "reading, %p %, about 1 s left")])
def test_the_bar_tells_the_stage_and_the_time_if_it_is_known(widget: Any, work: ScriptedRun, stage: str,
                                                             left: float | None, said: str) -> None:
    work.stage, work.seconds_left = stage, left
    widget.panel.refresh()
    assert widget.ui.progressBar.format == said


def test_while_it_runs_nothing_but_cancel_can_be_pressed(widget: Any, work: ScriptedRun) -> None:
    sections = (widget.ui.setupButton, widget.ui.tabs, widget.ui.modelSection)
    assert not any(section.enabled for section in sections) and widget.ui.applyButton.enabled
    assert widget.ui.applyButton.text == "Cancel" and not widget.ui.statusButton.visible
    end(widget, work)
    assert all(section.enabled for section in sections) and widget.ui.applyButton.text == "Apply"
    assert not widget.ui.progressBar.visible


def test_every_notice_is_logged_once_and_the_last_is_shown(widget: Any, work: ScriptedRun) -> None:
    assert widget.ui.statusLabel.text == "Segmenting Leber" and log(widget) == ["Started: Leber"]
    for notices in (["first"], [], ["second", "third"]):
        work.notices += notices
        widget.panel.step()
        widget.panel.refresh()
    assert widget.ui.statusLabel.text == "third"
    work.notices.append("fourth")
    end(widget, work)
    assert log(widget) == ["Started: Leber", "first", "second", "third", "fourth", "It is done."]
    second = ScriptedRun()
    second.notices.append("of the second run")
    widget.panel.run.start(lambda: second)
    widget.panel.refresh()
    assert log(widget)[6:] == ["Started: Leber", "of the second run"]


@pytest.mark.parametrize(("state", "errors", "offered"), [
    ("done", {}, ""), ("cancelled", {}, ""), ("failed", {}, "Copy report"),
    ("done", {"a": "It is broken."}, "Copy report")])
def test_a_report_is_offered_after_trouble(widget: Any, work: ScriptedRun, state: str, errors: dict[str, str],
                                           offered: str) -> None:
    import qt

    end(widget, work, state, **errors)
    ui = widget.ui
    assert ui.statusLabel.text == f"It is {state}." and ui.applyButton.enabled
    assert (ui.statusButton.text if ui.statusButton.visible else "") == offered
    assert log(widget)[1:] == ([] if state == "failed" else list(errors.values()) or [f"It is {state}."])
    qt.QApplication.clipboard().setText("mine")
    widget.panel.run._act()
    assert qt.QApplication.clipboard().text() == (f"state: {state}" if offered else "mine")
    assert ui.copyReportButton.enabled


def test_work_that_cannot_be_begun_is_a_sentence(widget: Any, add_volume: AddVolume) -> None:
    import qt

    def refuse() -> Any:
        raise ValueError("The region is empty; draw it.")

    add_volume()
    widget.panel.run.start(refuse)
    widget.panel.refresh()
    assert not widget.panel.run.busy and widget.ui.statusLabel.text == "The region is empty; draw it."
    assert log(widget) == ["The region is empty; draw it."] and not widget.ui.copyReportButton.enabled
    assert qt.QApplication.overrideCursor() is None


def test_a_cancellation_ends_the_work_and_says_so(widget: Any, work: ScriptedRun) -> None:
    widget.panel.run.cancel()
    widget.panel.refresh()
    assert work.state == "cancelled" and not widget.panel.run.busy and widget.ui.statusLabel.text == "It is cancelled."


def unforeseen() -> Any:
    raise TypeError("a fault of Müller")


def copied(widget: Any) -> str:
    import qt

    harness.click(widget.ui.statusButton)
    return qt.QApplication.clipboard().text()


def test_what_nobody_foresaw_at_apply_is_told_with_its_place_in_the_report(
        widget: Any, scene: Any, add_volume: AddVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    add_volume("Müller")
    before = nodes(scene)
    monkeypatch.setattr(widget.panel, "_work", unforeseen)
    press_apply(widget)
    said = widget.ui.statusLabel.text
    assert is_one_sentence(said) and "TypeError: a fault" in said and said in widget.ui.log.plainText
    assert widget.ui.applyButton.text == "Apply" and widget.ui.applyButton.enabled and nodes(scene) == before
    assert widget.ui.statusButton.text == "Copy report" and widget.ui.copyReportButton.enabled
    report = copied(widget)
    assert "in unforeseen" in report and "SAMora: " in report and "Müller" not in report


def test_memory_that_runs_out_at_apply_is_said(widget: Any, add_volume: AddVolume, child: Child, temporary: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    from SAMoraSlicer import segmenting

    def full(*_: Any) -> None:
        raise MemoryError

    add_volume()
    monkeypatch.setattr(segmenting.Segmenting, "start", full)
    press_apply(widget)
    assert widget.ui.statusLabel.text.startswith("Memory ran out while the work was being prepared")
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("where", ["step", "outcome", "results", "cancel"])
def test_what_nobody_foresaw_in_the_work_ends_it(widget: Any, work: ScriptedRun, where: str) -> None:
    setattr(work, where, unforeseen)
    if where == "cancel":
        harness.click(widget.ui.applyButton)
    else:
        if where != "step":
            work.state = "done"
        widget.panel.step()
    assert "TypeError: a fault" in widget.ui.statusLabel.text and is_one_sentence(widget.ui.statusLabel.text)
    assert not widget.panel.run.busy and widget.ui.applyButton.text == "Apply" and not widget.ui.progressBar.visible
    assert "in unforeseen" in copied(widget)


def test_a_report_that_cannot_be_made_is_one_all_the_same(widget: Any, work: ScriptedRun) -> None:
    work.report = unforeseen  # type: ignore[method-assign, assignment]
    end(widget, work, "failed", Leber="It is broken.")
    assert "in unforeseen" in copied(widget)


def test_a_report_of_a_folder_names_neither_folders_nor_files(widget: Any, work: ScriptedRun) -> None:
    work.private = [Path("/srv/Klinik/Müller Eva"), Path("/srv/Klinik/Müller Eva/IM0001")]

    def fail() -> str:
        raise ValueError("m%C3%BCller%20eva, IM0001 in /srv/Klinik/Müller Eva/x")

    work.report = fail  # type: ignore[method-assign]
    end(widget, work, "failed", Leber="It is broken.")
    assert copied(widget).endswith("\nValueError: <name>, <name> in <path of 4 parts>")


def test_the_stage_is_no_format_of_the_bar(widget: Any, work: ScriptedRun) -> None:
    work.stage = "%v of %m\n" + "x" * 1000
    widget.panel.refresh()
    assert "%v" not in widget.ui.progressBar.format and "\n" not in widget.ui.progressBar.format
    assert len(widget.ui.progressBar.format) < 100 and widget.ui.progressBar.format.endswith(", %p %")
