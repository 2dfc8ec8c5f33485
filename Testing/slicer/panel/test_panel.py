"""The panel as a whole: what its sections work on, and what it says next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraSlicer.models import Model
from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_catalogue
from Testing.slicer.scripted_child import ScriptedChild

AddVolume = Callable[..., Any]
DEMONSTRATION = "ct-abdomen"


class StandInWork:
    """Work that goes on until it is cancelled or ``ends``; it is its own run, too."""

    def __init__(self, *results: Any) -> None:
        self.title, self.state, self.stage = "stand-in", "idle", "working"
        self.errors: dict[str | None, str] = {}
        self.notices: list[str] = []
        self.fraction, self.seconds_left, self.ends = 0.5, None, False
        self.run, self._results = self, results

    def start(self) -> None:
        self.state = "running"

    def step(self) -> bool:
        if self.ends:
            self.state = "done"
        return not self.ends

    def cancel(self) -> None:
        self.state = "cancelled"

    def results(self) -> list[Any]:
        return list(self._results)

    def outcome(self) -> str:
        return f"It is {self.state}."


@pytest.fixture
def work(widget: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What work Apply made, by kind and arguments; none of it is begun."""
    from SAMoraSlicer.panel import panel

    made: list[tuple[Any, ...]] = []

    def kind(name: str) -> type:
        def start(self: Any, *arguments: Any) -> None:
            StandInWork.__init__(self)
            made.append((name, *arguments))

        return type(name, (StandInWork,), {"__init__": start})

    for name in ("SceneWork", "FolderWork"):
        monkeypatch.setattr(panel, name, kind(name))
    return made


def result(volume: Any, name: str = "CT") -> Any:
    from SAMoraSlicer.results import Result

    organ = {"name": "liver", "title": "Liver", "found": False}
    return Result(name, volume.GetID(), "", "CT", (organ,))


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


def test_without_a_parameter_node_a_volume_is_asked_for(widget: Any, add_volume: AddVolume) -> None:
    add_volume()
    assert widget.ui.applyButton.enabled
    widget.panel.bind(None)
    assert widget.ui.statusLabel.text == "Load a CT or MR volume." and not widget.ui.applyButton.enabled


def test_what_is_missing_is_said_in_the_order_in_which_it_is_needed(widget: Any, scene: Any, add_volume: AddVolume,
                                                                    models_folder: Path) -> None:
    panel, said = widget.panel, []

    def look() -> str:
        panel.refresh()
        said.append(widget.ui.statusLabel.text)
        assert widget.ui.applyButton.enabled == said[-1].startswith("Ready")
        return widget.ui.statusButton.text if widget.ui.statusButton.visible else ""

    write_catalogue(models_folder)
    panel.setup.look()
    panel.setup.missing, panel.setup.broken = ["torch>=2.2"], "PyTorch does not start (no c10)."
    panel.parameters.model = "gone"
    assert look() == "Install" and said[-1] == "PyTorch does not start (no c10)."
    panel.setup.broken = ""
    assert look() == "Install" and said[-1].startswith("Python packages are missing")
    panel.setup.missing = []
    assert look() == "From file..." and said[-1].startswith("The scene's model 'gone' is not on this computer;")
    panel.models.select("abdomen-ct")
    assert look() == "Download" and said[-1].startswith("'Abdomen CT' is not on this computer yet")
    panel.models.select(DEMONSTRATION)
    assert look() == "Add data..." and said[-1] == "Load a CT or MR volume."
    volume = add_volume()
    harness.click(widget.ui.noOrgansButton)
    assert look() == "All organs" and said[-1] == "No organ is checked."
    panel.models.check_all()
    assert look() == "" and said[-1] == "Ready."
    volume.SetAndObserveImageData(None)
    assert look() == "" and "holds no image" in said[-1]


def test_without_any_model_one_is_asked_for(widget: Any, add_volume: AddVolume) -> None:
    add_volume()
    widget.panel.models.offer([])
    widget.panel.refresh()
    assert (widget.ui.statusLabel.text, widget.ui.statusButton.text) == ("No model is installed.", "From file...")


def test_apply_works_on_the_volume_with_all_that_is_chosen(widget: Any, scene: Any, add_volume: AddVolume,
                                                           work: list[Any]) -> None:
    add_volume("first")
    volume, region = add_volume("second"), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    node = widget.panel.parameters
    node.inputVolume, node.region, node.outputSegmentation = volume, region, output
    node.skippedOrgans = [name for name in widget.panel.models.model.organs if name not in ("liver", "aorta")]
    widget.ui.deviceSelector.currentIndex, widget.ui.precisionSelector.currentIndex = 1, 2
    harness.click(widget.ui.applyButton)
    [(kind, nodes, model, options, its_region, its_output)] = work
    assert (kind, nodes, model.id, its_region, its_output) == ("SceneWork", [volume], DEMONSTRATION, region, output)
    assert (set(options.organs), options.device, options.precision, options.skim) == (
        {"liver", "aorta"}, "cuda:0", "int8", 1)


def test_apply_asks_for_no_organs_by_name_where_all_are_checked(widget: Any, add_volume: AddVolume, work: list[Any]
                                                                ) -> None:
    add_volume()
    harness.click(widget.ui.applyButton)
    assert work[0][3].organs is None and work[0][4:] == (None, None)


def test_apply_works_on_the_checked_volumes_of_the_other_tab(widget: Any, add_volume: AddVolume, work: list[Any]
                                                             ) -> None:
    nodes = [add_volume(name) for name in "abc"]
    widget.ui.tabs.currentIndex = 1
    assert widget.ui.statusLabel.text == "Check the volumes to segment."
    for node in nodes[1:]:
        widget.ui.sceneVolumes.setCheckState(node, 2)
    harness.click(widget.ui.applyButton)
    assert work[0][:2] == ("SceneWork", nodes[1:])


def test_apply_works_on_the_folder_of_the_other_tab(widget: Any, add_volume: AddVolume, tmp_path: Path, work: list[Any]
                                                    ) -> None:
    add_volume()
    widget.ui.tabs.currentIndex, widget.ui.batchSource.currentIndex = 1, 1
    widget.ui.inputFolder.currentPath, widget.ui.outputFolder.currentPath = str(tmp_path / "in"), str(tmp_path / "out")
    harness.click(widget.ui.applyButton)
    assert work[0][:3] == ("FolderWork", tmp_path / "in", tmp_path / "out") and work[0][3].id == DEMONSTRATION


def test_a_folder_that_is_chosen_in_a_tab_behind_is_not_worked_on(widget: Any, add_volume: AddVolume, work: list[Any]
                                                                  ) -> None:
    add_volume()
    widget.ui.tabs.currentIndex, widget.ui.batchSource.currentIndex = 1, 1
    widget.ui.tabs.currentIndex = 0
    harness.click(widget.ui.applyButton)
    assert work[0][0] == "SceneWork"


def test_apply_is_cancel_while_something_runs_and_does_nothing_before_all_is_chosen(widget: Any, add_volume: AddVolume,
                                                                                    work: list[Any]) -> None:
    panel = widget.panel
    panel.apply_or_cancel()
    assert not panel.run.busy and work == []
    add_volume()
    panel.apply_or_cancel()
    assert panel.run.busy and len(work) == 1 and panel.timer.isActive() and widget.ui.applyButton.text == "Cancel"
    begun = panel.run.work
    panel.apply_or_cancel()
    assert begun.state == "cancelled" and not panel.run.busy and len(work) == 1 and not panel.timer.isActive()


def test_the_timer_takes_in_what_happens_and_stops_at_the_end(widget: Any, add_volume: AddVolume, work: list[Any]
                                                              ) -> None:
    add_volume()
    harness.click(widget.ui.applyButton)
    begun = widget.panel.run.work
    begun.fraction = 0.75
    harness.wait_until(lambda: widget.ui.progressBar.value == 75)
    assert widget.panel.timer.isActive()
    begun.ends = True
    harness.wait_until(lambda: not widget.panel.run.busy)
    assert not widget.panel.timer.isActive() and widget.ui.statusLabel.text == "It is done."


def test_results_are_shown_and_a_run_without_any_leaves_those_before(widget: Any, add_volume: AddVolume) -> None:
    volume, panel = add_volume(), widget.panel
    widget.ui.resultsButton.collapsed = True
    for results in ([result(volume, "first")], []):
        work = StandInWork(*results)
        panel.run.start(lambda work=work: work)
        work.ends = True
        panel.step()
        assert panel.results.shown.volume == "first" and widget.ui.resultsTable.rowCount == 1
    assert not widget.ui.resultsButton.collapsed


@pytest.mark.parametrize("kind", ["SceneWork", "FolderWork"])
def test_closing_the_scene_ends_work_on_the_scene_alone(widget: Any, scene: Any, add_volume: AddVolume, work: list[Any],
                                                        kind: str) -> None:
    from SAMoraSlicer.panel import panel

    volume = add_volume()
    widget.panel.results.show([result(volume)])
    begun = getattr(panel, kind)()
    widget.panel.run.start(lambda: begun)
    scene.Clear(0)
    assert widget.panel.results.shown is None
    assert begun.state == ("cancelled" if kind == "SceneWork" else "running")
    assert widget.panel.run.busy == (kind == "FolderWork")
    assert ("because the scene was closed" in widget.ui.log.plainText) == (kind == "SceneWork")


def test_what_was_said_last_stands_until_something_is_chosen(widget: Any, add_volume: AddVolume) -> None:
    add_volume()
    widget.panel._tell("The table was written.")
    assert widget.ui.statusLabel.text == "The table was written." and widget.ui.applyButton.enabled
    widget.panel.refresh()
    assert widget.ui.statusLabel.text == "The table was written."
    widget.ui.tabs.currentIndex = 1
    widget.ui.tabs.currentIndex = 0
    assert widget.ui.statusLabel.text == "Ready."


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch, slicer_app: Any) -> list[ScriptedChild]:
    """The children that look for devices."""
    from SAMoraSlicer.panel import device

    made: list[ScriptedChild] = []
    monkeypatch.setattr(device, "ChildProcess", lambda: made.append(ScriptedChild()) or made[-1])
    return made


def test_torch_is_asked_for_devices_once_the_panel_is_shown(module: Any, models_folder: Path,
                                                            children: list[ScriptedChild]) -> None:
    import slicer

    slicer.app.moduleManager().module("SAMora").widgetRepresentation()
    assert children == [], "a panel that nobody looks at takes no time"
    widget = harness.make_widget("SAMora")
    assert len(children) == 1 and widget.panel.timer.isActive()
    children[0].say("devices", devices=[["cpu", "CPU"]], torch="any")
    children[0].end(0)
    widget.panel.step()
    assert not widget.panel.timer.isActive()
    widget.parent.exit()
    widget.parent.enter()
    assert len(children) == 1, "it has been asked"


def test_a_torch_that_is_missing_is_not_asked(module: Any, models_folder: Path, children: list[ScriptedChild],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    from SAMoraSlicer import dependencies

    monkeypatch.setattr(dependencies, "missing", lambda: ["torch>=2.2"])
    widget = harness.make_widget("SAMora")
    assert children == [] and not widget.panel.timer.isActive()


def test_models_that_come_and_go_are_offered(widget: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from SAMoraSlicer.panel import setup

    monkeypatch.setattr(setup, "catalogue", lambda: [Model("own", "Own", path=Path("nowhere"))])
    widget.parent.exit()
    widget.parent.enter()
    assert [model.id for model in widget.panel.models._models] == ["own"] and widget.panel.models.model.id == "own"


def test_stopping_ends_all_that_runs(widget: Any, add_volume: AddVolume, work: list[Any], children: list[ScriptedChild]
                                     ) -> None:
    add_volume()
    widget.panel.device.ask()
    harness.click(widget.ui.applyButton)
    begun = widget.panel.run.work
    widget.panel.stop()
    assert begun.state == "cancelled" and children[0].cancelled and not widget.panel.timer.isActive()
    assert not (widget.panel.run.busy or widget.panel.device.busy)


def test_what_a_killed_slicer_has_left_goes_when_the_panel_opens(
        module: Any, models_folder: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    (tmp_path / "system").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "system"))
    for parent in (temporary, tmp_path / "system"):
        folder = parent / "samora-run-killed"
        folder.mkdir(mode=0o700)
        (folder / "request.json").write_text("patient", encoding="utf-8")
    harness.make_widget("SAMora")
    assert list(temporary.iterdir()) == list((tmp_path / "system").iterdir()) == []
