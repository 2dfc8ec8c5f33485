"""A run over volumes of a real scene, step by step: how far it is, how long it takes, and what becomes of trouble."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from SAMoraLib.request import Options
from SAMoraLib.volume.io import read_volume, write_volume
from Testing.refusals import refusal
from Testing.slicer.bare_checkpoint import write_checkpoint
from Testing.slicer.scene_volumes import add_volume, body, node_ids
from Testing.slicer.scripted_child import ScriptedChild

ROWS = [{"name": "liver", "title": "Liver", "found": True}]


class Bench:
    """Runs whose child is scripted."""

    def __init__(self, segmenting: Any, folder: Path) -> None:
        self.segmenting, self.temporary = segmenting, folder / "tmp"
        self.temporary.mkdir()
        self.model = write_checkpoint(folder / "model.safetensors")
        self.child = ScriptedChild()
        self.made: list[Any] = []

    def make(self, volumes: Sequence[Any], options: Options | None = None, **more: Any) -> Any:
        self.made.append(self.segmenting.Segmenting(volumes, self.model, options or Options(), **more))
        return self.made[-1]

    def start(self, volumes: Sequence[Any], options: Options | None = None, **more: Any) -> Any:
        """A run whose child has just been started."""
        made = self.make(volumes, options, **more)
        made.start()
        for _ in volumes:
            assert made.step(), made.errors
        return made

    def say(self, event: str, number: int, **values: Any) -> None:
        """Of the n-th of the child's volumes."""
        self.child.say(event, volume=self.child.request["jobs"][number]["input"], **values)

    def finish(self, number: int, value: int = 5, **values: Any) -> None:
        """A result: the first slice is one organ, the liver by default."""
        job = self.child.request["jobs"][number]
        volume = read_volume(job["input"])
        labels = np.zeros(volume.array.shape, np.uint8)
        labels[0] = value
        write_volume(volume.with_array(labels), job["output"])
        self.say("result", number, **{"output": job["output"], "seconds": 1.5, "organs": ROWS, **values})


@pytest.fixture
def bench(scene: Any, slicer_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from SAMoraSlicer import segmenting

    made = Bench(segmenting, tmp_path)
    monkeypatch.setattr(segmenting, "ChildProcess", lambda: made.child)
    monkeypatch.setattr(slicer_app, "temporaryPath", str(made.temporary))
    yield made
    for run in made.made:
        run.cancel()
    assert list(made.temporary.iterdir()) == [], "temporary files are left"


@pytest.fixture
def clock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """``clock.now``, in seconds; whoever sleeps lets it go on by a second and does ``clock.meanwhile()``."""
    made = SimpleNamespace(now=50.0, meanwhile=lambda: None)

    def sleep(seconds: float) -> None:
        made.now += 1.0
        made.meanwhile()
        assert made.now < 1000.0, "waited in vain"

    monkeypatch.setattr(bench.segmenting, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=sleep))
    return made


def volume_node(name: str = "Leber", shape: tuple[int, int, int] = (4, 5, 6)) -> Any:
    return add_volume(body(np.eye(3), shape), name)


def segmentation_of(run: Any, node: Any) -> Any:
    return node.GetScene().GetNodeByID(run.results[node.GetID()]["segmentation"])


def test_a_run_that_is_not_started_is_idle_and_stays_so(bench: Bench) -> None:
    made = bench.make([volume_node()])
    made.cancel()
    assert (made.state, made.stage, made.fraction, made.seconds_left) == ("idle", "", 0.0, None) and not made.step()


def test_volumes_are_written_one_a_step_before_the_child_starts(bench: Bench) -> None:
    made = bench.make([volume_node("a"), volume_node("b")])
    made.start()
    assert made.stage == "writing" and made.fraction == 0.0
    assert made.step() and bench.child.command == [] and made.stage == "writing"
    assert made.step() and made.stage == "loading the model"
    assert bench.child.command[-5:-2] == ["SAMoraLib", "predict", "--request"] and bench.child.command[-1] == "--json"
    names = [Path(job["input"]).name for job in bench.child.request["jobs"]]
    assert len(set(names)) == 2 and not any(name in ("a.nrrd", "b.nrrd") for name in names)


def test_a_run_is_as_far_as_its_volumes(bench: Bench) -> None:
    nodes = [volume_node(name) for name in "abcd"]
    made, seen = bench.start(nodes), []

    def look() -> None:
        made.step()
        seen.append(made.fraction)

    bench.say("progress", 0, fraction=0.5, stage="segmenting")
    look()
    assert made.stage == "segmenting"
    bench.finish(0)
    look()
    bench.say("error", 1, message="'volume-2.nrrd' is broken.")
    bench.say("progress", 2, fraction=0.25, stage="reading")
    look()
    bench.finish(2)
    look()
    assert seen == [0.125, 0.25, 0.5625, 0.75]
    assert made.errors == {nodes[1].GetID(): "'b' is broken."} and list(made.results) == [
        nodes[0].GetID(), nodes[2].GetID()]


def test_the_time_that_is_left_counts_from_the_models_being_there(bench: Bench, clock: SimpleNamespace) -> None:
    made = bench.start([volume_node("a"), volume_node("b")])
    assert made.seconds_left is None and made.running_on == ""
    bench.child.say("ready", device="cuda:0")
    clock.now = 100.0
    made.step()
    assert made.running_on == "cuda:0" and made.seconds_left is None, "nothing is done yet"
    bench.say("progress", 0, fraction=0.5, stage="segmenting")
    clock.now = 110.0
    made.step()
    assert made.seconds_left == 30.0, "a quarter took 10 s"
    made.cancel()
    assert made.seconds_left is None


def test_no_time_is_told_before_the_model_is_there(bench: Bench) -> None:
    made = bench.start([volume_node()])
    bench.say("progress", 0, fraction=0.5, stage="reading")
    made.step()
    assert made.fraction == 0.5 and made.seconds_left is None


def test_a_result_becomes_a_segmentation_with_its_rows_and_seconds(bench: Bench) -> None:
    node = volume_node()
    made = bench.start([node])
    bench.finish(0)
    bench.child.end(0)
    assert not made.step() and made.state == "done" and made.errors == {} and made.fraction == 1.0
    result = made.results[node.GetID()]
    assert (result["rows"], result["seconds"]) == (ROWS, 1.5)
    assert list(segmentation_of(made, node).GetSegmentation().GetSegmentIDs()) == ["liver"]
    assert bench.child.cancelled, "whatever it started ends with it"


def test_outputs_are_written_to_and_where_there_is_none_one_is_made(bench: Bench, scene: Any) -> None:
    nodes, output = [volume_node("a"), volume_node("b")], scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    made = bench.start(nodes, outputs=[output, None])
    for number in (0, 1):
        bench.finish(number)
    made.step()
    assert segmentation_of(made, nodes[0]) == output and segmentation_of(made, nodes[1]).GetName() == "b segmentation"
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 2


def test_an_output_that_was_removed_meanwhile_is_made_anew(bench: Bench, scene: Any) -> None:
    node, output = volume_node(), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    made = bench.start([node], outputs=[output])
    scene.RemoveNode(output)
    bench.finish(0)
    made.step()
    assert segmentation_of(made, node).GetName() == "Leber segmentation"


def test_two_volumes_are_not_written_to_one_segmentation(bench: Bench, scene: Any) -> None:
    nodes, output = [volume_node("a"), volume_node("b")], scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    assert refusal(lambda: bench.make(nodes, outputs=[output, output])).startswith("Several volumes would be written")
    assert bench.make(nodes, outputs=[None, None]).state == "idle", "new ones differ"


def test_only_organs_that_were_asked_for_enter_the_scene(bench: Bench) -> None:
    node = volume_node()
    made = bench.start([node], Options(("spleen",)))
    assert bench.child.request["organs"] == ["spleen"]
    bench.finish(0)
    made.step()
    assert segmentation_of(made, node).GetSegmentation().GetNumberOfSegments() == 0


def test_a_region_is_asked_for_where_there_is_one(bench: Bench, scene: Any) -> None:
    roi = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(-3, 4, 5)
    roi.SetSize(2, 4, 6)
    bench.start([volume_node()], region=roi)
    assert bench.child.request["jobs"][0]["region"]["centre"] == [3.0, -4.0, 5.0]
    bench.start([volume_node()])
    assert bench.child.request["jobs"][0]["region"] is None


@pytest.mark.parametrize("changed", [False, True])
def test_a_volume_that_changes_while_it_is_segmented_gets_no_result(bench: Bench, scene: Any, changed: bool) -> None:
    node = volume_node()
    made = bench.start([node])
    if changed:
        node.SetSpacing(9.0, 9.0, 9.0)
    else:
        scene.RemoveNode(node)
    before = node_ids(scene)
    bench.finish(0)
    bench.child.end(0)
    assert not made.step() and made.state == "failed" and node_ids(scene) == before
    fate = "was changed" if changed else "was removed from the scene"
    assert list(made.errors.values()) == [f"'Leber' {fate} while it was being segmented; its result is dropped."]


def test_a_volume_that_goes_before_it_is_written_does_not_stop_the_others(bench: Bench, scene: Any) -> None:
    nodes = [volume_node("a"), volume_node("b")]
    gone = nodes[0].GetID()
    made = bench.make(nodes)
    made.start()
    scene.RemoveNode(nodes[0])
    assert made.step() and made.step()
    assert len(bench.child.request["jobs"]) == 1 and made.errors[gone].startswith("'a' was removed from the scene")
    bench.finish(0)
    bench.child.end(0)
    assert not made.step() and made.state == "done" and list(made.results) == [nodes[1].GetID()]


def test_without_any_volume_no_child_is_started(bench: Bench, scene: Any) -> None:
    node = volume_node()
    made = bench.make([node])
    made.start()
    scene.RemoveNode(node)
    assert not made.step() and made.state == "failed" and bench.child.command == [] and None not in made.errors


@pytest.mark.parametrize("said", ["'python' cannot be started; check it.", ""])
def test_trouble_of_the_system_is_no_room_and_ours_is_its_own_sentence(bench: Bench, monkeypatch: pytest.MonkeyPatch,
                                                                       said: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(said) if said else OSError(28, "No space left on device")

    monkeypatch.setattr(bench.child, "start", refuse)
    made = bench.make([volume_node()])
    made.start()
    assert not made.step() and made.state == "failed"
    room = (f"The temporary folder '{bench.temporary}' cannot be written to; free some space there, or choose another "
            "one in Slicer's application settings.")
    assert made.errors == {None: said or room}


def test_a_volume_that_cannot_be_written_is_no_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("'volume-1.nrrd' could not be written.")

    monkeypatch.setattr(bench.segmenting, "write_volume", refuse)
    made = bench.make([volume_node()])
    made.start()
    assert not made.step() and "free some space there" in made.errors[None]


def test_a_child_that_ends_too_early_is_said_and_what_was_finished_stays(bench: Bench, scene: Any) -> None:
    nodes = [volume_node("a"), volume_node("b")]
    made = bench.start(nodes)
    bench.finish(0)
    bench.child.end(3)
    assert not made.step() and made.state == "failed" and list(made.results) == [nodes[0].GetID()]
    assert made.errors == {None: "The program that segments ended by itself (exit code 3); close other programs and "
                                 "try again, or ask for help with the text of 'Copy report'."}


def test_an_error_of_no_volume_is_not_followed_by_another(bench: Bench) -> None:
    made = bench.start([volume_node()])
    bench.child.say("error", message="The model is damaged.")
    bench.child.end(1)
    assert not made.step() and made.state == "failed" and made.errors == {None: "The model is damaged."}


def test_a_run_is_done_when_every_volume_was_tried_and_one_succeeded(bench: Bench) -> None:
    nodes = [volume_node("a"), volume_node("b")]
    made = bench.start(nodes)
    bench.say("error", 0, message="'volume-1.nrrd' is broken.")
    bench.finish(1)
    bench.child.end(1)
    assert not made.step() and made.state == "done" and made.errors == {nodes[0].GetID(): "'a' is broken."}


def test_a_run_of_which_nothing_succeeded_has_failed(bench: Bench) -> None:
    node = volume_node()
    made = bench.start([node])
    bench.say("error", 0, message="'volume-1.nrrd' is broken.")
    bench.child.end(1)
    assert not made.step() and made.state == "failed" and made.errors == {node.GetID(): "'Leber' is broken."}


def test_what_is_of_no_volume_of_the_run_is_not_taken_for_one(bench: Bench) -> None:
    made = bench.start([volume_node()])
    bench.child.say("result", volume="/elsewhere/ct.nrrd", seconds=1.0, organs=ROWS)
    bench.child.say("progress", volume=None, fraction=0.5, stage="reading")
    assert made.step() and made.results == {} and made.errors == {} and made.fraction == 0.0


def test_after_a_cancellation_nothing_is_taken_in(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the new node in the scene may cancel, or close the scene."""
    made = bench.start([volume_node("a"), volume_node("b")])
    import_labels, taken = bench.segmenting.import_labels, []

    def cancelled_by_its_result(*arguments: Any) -> Any:
        taken.append(import_labels(*arguments))
        made.cancel()
        return taken[-1]

    monkeypatch.setattr(bench.segmenting, "import_labels", cancelled_by_its_result)
    bench.finish(0)
    bench.finish(1)
    bench.child.end(3)
    assert not made.step() and made.state == "cancelled" and len(taken) == 1 and made.errors == {}


def test_waiting_ends_with_the_run_and_not_before(bench: Bench, clock: SimpleNamespace) -> None:
    made = bench.start([volume_node()])
    naps: list[float] = []

    def meanwhile() -> None:
        naps.append(clock.now)
        if len(naps) == 3:
            bench.finish(0)
            bench.child.end(0)

    clock.meanwhile = meanwhile
    assert made.wait() and made.state == "done" and len(naps) == 3


def test_waiting_ends_after_its_time(bench: Bench, clock: SimpleNamespace) -> None:
    made = bench.start([volume_node()])
    assert not made.wait(10.0) and made.state == "running" and 60.0 <= clock.now <= 61.0


def test_the_report_names_sizes_and_no_volume(bench: Bench) -> None:
    made = bench.start([volume_node("Müller", (4, 5, 6)), volume_node("Meyer", (7, 8, 9))], Options(device="auto"))
    bench.child.say("ready", device="cpu")
    bench.say("progress", 1, fraction=0.5, stage="segmenting")
    bench.say("error", 0, message="'volume-1.nrrd' is broken.")
    made.step()
    said = made.report().splitlines()
    for line in ("model: model", "device: auto cpu", "volumes: 6 x 5 x 4, 9 x 8 x 7", "state: running, segmenting 25%"):
        assert line in said
    assert any(line.startswith("said: ") and line.endswith(" is broken.") for line in said)
    assert "Müller" not in made.report()


def test_a_notice_names_the_volume_and_not_its_file(bench: Bench) -> None:
    made = bench.start([volume_node("Leber")])
    file = bench.child.request["jobs"][0]["input"]
    bench.child.say("notice", message=f"'{file}' starts again; '{Path(file).name}' needs memory.")
    made.step()
    assert made.notices == ["'Leber' starts again; 'Leber' needs memory."] and made.errors == {}


def test_what_cannot_segment_is_refused(bench: Bench) -> None:
    node = volume_node()
    assert refusal(lambda: bench.make([])) == "There is no volume to segment; choose one."
    assert "'heart' is not an organ" in refusal(lambda: bench.make([node], Options(("heart",))))
    write_checkpoint(bench.model, kind="base", labels=None, preprocessing=None)
    assert refusal(lambda: bench.make([node])) == ("'model.safetensors' is a checkpoint of kind 'base', which cannot "
                                                   "segment by itself; choose a trained model.")


HOSTILE_EVENTS: list[dict[str, Any]] = [
    {"event": "ready"}, {"event": "ready", "device": 5}, {"event": "progress", "fraction": "x", "stage": "a"},
    {"event": "progress", "fraction": 0.5}, {"event": "notice"}, {"event": "notice", "message": ["a"]},
    {"event": "error"}, {"event": "error", "message": None}, {"event": "result", "output": "a"},
    {"event": "unknown", "message": 1}]


@pytest.mark.parametrize("event", HOSTILE_EVENTS, ids=str)
def test_no_word_of_a_child_raises(bench: Bench, event: dict[str, Any]) -> None:
    """The reader of the child's lines lets none of these through; if one came, it would end the run in a sentence."""
    made = bench.start([volume_node()])
    bench.say(event["event"], 0, **{name: value for name, value in event.items() if name != "event"})
    made.step()
    assert made.errors == {} or next(iter(made.errors.values())).endswith(".")


@pytest.mark.parametrize("error", [TypeError("a fault of ours"), MemoryError()])
@pytest.mark.parametrize("chosen", [False, True])
def test_what_nobody_foresaw_while_a_result_comes_in_is_told_and_changes_nothing(
        bench: Bench, scene: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, chosen: bool) -> None:
    from SAMoraSlicer import nodes

    first, second = volume_node("Müller"), volume_node("b")
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine") if chosen else None
    if output:
        output.GetSegmentation().AddEmptySegment("liver", "Müllers Leber")
    made = bench.start([first, second], outputs=[output, None])
    before = node_ids(scene)
    describe, calls = nodes.describe_segment, []

    def fail_once(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise error
        describe(*arguments)

    monkeypatch.setattr(nodes, "describe_segment", fail_once)
    bench.finish(0)
    made.step()
    assert node_ids(scene) == before and made.results == {}
    if output:
        assert output.GetSegmentation().GetSegment("liver").GetName() == "Müllers Leber"
    said = made.errors[first.GetID()]
    assert said.endswith(".") and "\n" not in said and ("Memory" in said or "TypeError: a fault of ours" in said)
    bench.finish(1)
    bench.child.end(0)
    assert not made.step() and list(made.results) == [second.GetID()], "the others go on"
    report = made.report()
    assert "fail_once" in report and f"{type(error).__name__}" in report and "Müller" not in report


def test_what_nobody_foresaw_in_a_step_ends_the_run_in_a_sentence(bench: Bench, scene: Any,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a fault of ours")

    made = bench.make([volume_node("Müller")])
    before = node_ids(scene)
    monkeypatch.setattr(bench.segmenting, "write_volume", fail)
    made.start()
    assert not made.step() and made.state == "failed" and node_ids(scene) == before and bench.child.cancelled
    assert "RuntimeError: a fault of ours" in made.errors[None] and "Traceback" in made.report()


def test_the_report_names_nothing_of_the_scene(bench: Bench, scene: Any, tmp_path: Path) -> None:
    import slicer

    node = volume_node("Anna Schmidt")
    storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName("/srv/Patienten/Schulze Eva/ct.nii")
    node.SetAndObserveStorageNodeID(storage.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Lehmann")
    made = bench.start([node])
    bench.child.end(3, "anna schmidt, Lehmann, Schulze%20Eva", str(tmp_path / "secret place" / "x.nii"))
    made.step()
    node.SetName("renamed")
    report = made.report()
    for secret in ("anna", "Schmidt", "Lehmann", "Schulze", "Eva", "secret", str(tmp_path)):
        assert secret not in report
    assert "<name>, <name>, <name>" in report


def test_the_folder_of_a_run_is_private_and_that_of_a_killed_one_is_swept(bench: Bench) -> None:
    left = bench.temporary / "samora-run-killed"
    left.mkdir(mode=0o700)
    (left / "request.json").write_text("patient", encoding="utf-8")
    bench.start([volume_node()])
    [own] = bench.temporary.iterdir()
    assert own != left and (own / "request.json").exists()
    if os.name != "nt":
        assert own.stat().st_mode & 0o077 == 0
