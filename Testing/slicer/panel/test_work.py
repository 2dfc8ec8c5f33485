"""What the panel says of work that has ended: volumes of the scene, and files of a folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraLib.request import Options
from SAMoraSlicer.models import Model
from Testing.slicer.bare_checkpoint import write_checkpoint

AddVolume = Callable[..., Any]
LIVER, SPLEEN = ({"name": name, "title": name.capitalize(), "found": name == "liver"} for name in ("liver", "spleen"))


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return Model("own", "Own", modality="MR", path=write_checkpoint(tmp_path / "own.safetensors"))


@pytest.fixture
def work(slicer_app: Any) -> Any:
    import SAMoraSlicer.panel.work

    return SAMoraSlicer.panel.work


@pytest.fixture
def clock(work: Any, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    made = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(work, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


class Volumes:
    """Work on volumes of the scene, which is not started: how it ended is said here."""

    def __init__(self, work: Any, model: Model, nodes: list[Any], **more: Any) -> None:
        self.nodes = nodes
        self.made = work.SceneWork(nodes, model, Options(), **more)
        self.run = self.made.run

    def finish(self, number: int, *organs: Any) -> None:
        self.run.results[self.nodes[number].GetID()] = {"segmentation": f"segmentation-{number}", "rows": list(organs)}

    def fail(self, number: int | None, said: str) -> None:
        self.run.errors[None if number is None else self.nodes[number].GetID()] = said

    def outcome(self, state: str) -> str:
        self.run.state = state
        return self.made.outcome()


@pytest.fixture
def volumes(work: Any, model: Model, add_volume: AddVolume, clock: SimpleNamespace) -> Callable[..., Volumes]:
    return lambda *names, **more: Volumes(work, model, [add_volume(name) for name in names], **more)


def test_volumes_are_named_and_their_results_come_in_their_order(volumes: Any) -> None:
    made = volumes("a", "b", "c")
    assert made.made.title == "a, b, c" and made.made.results() == []
    made.finish(2, LIVER)
    made.finish(0, LIVER, SPLEEN)
    first, last = made.made.results()
    assert (first.volume, first.volume_id, first.segmentation_id) == ("a", made.nodes[0].GetID(), "segmentation-0")
    assert (first.modality, first.organs, first.found) == ("MR", (LIVER, SPLEEN), 1)
    assert (last.volume, last.segmentation_id, last.organs) == ("c", "segmentation-2", (LIVER,))


def test_one_volume_tells_its_organs_and_its_time(volumes: Any, clock: SimpleNamespace) -> None:
    made = volumes("a")
    made.finish(0, LIVER, SPLEEN, SPLEEN)
    clock.now += 12.0
    assert made.outcome("done") == "1 of 3 organs found in 12 s."


def test_several_volumes_tell_how_many_and_their_time(volumes: Any, clock: SimpleNamespace) -> None:
    made = volumes("a", "b")
    for number in (0, 1):
        made.finish(number, LIVER)
    clock.now += 180.0
    assert made.outcome("done") == "2 volumes segmented in 3 min."


def test_a_cancellation_tells_what_is_left_of_it(volumes: Any) -> None:
    made = volumes("a", "b")
    assert made.outcome("cancelled") == "Cancelled; the scene is unchanged."
    made.finish(1, LIVER)
    assert made.outcome("cancelled") == "Cancelled; 1 of 2 volumes were finished before."
    made.fail(0, "'a' is broken.")
    assert made.outcome("cancelled") == "Cancelled; 1 of 2 volumes were finished before."


def test_the_only_volumes_error_is_all_that_is_said(volumes: Any) -> None:
    made = volumes("a")
    made.fail(0, "'a' is broken.")
    assert made.outcome("failed") == "'a' is broken."


def test_one_of_several_is_named_with_how_many_are_done(volumes: Any) -> None:
    made = volumes("a", "b", "c")
    made.finish(0, LIVER)
    made.fail(1, "It is broken.")
    made.fail(2, "It is broken, too.")
    assert made.outcome("done") == "1 of 3 done; b: It is broken."


def test_what_ended_the_whole_run_has_no_volumes_name(volumes: Any) -> None:
    made = volumes("a", "b")
    made.finish(0, LIVER)
    made.fail(None, "The program that segments was ended.")
    assert made.outcome("failed") == "The program that segments was ended."


def test_a_region_and_an_output_are_passed_on(volumes: Any, scene: Any) -> None:
    output = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    region.SetCenter(0, 0, 0)
    region.SetSize(10, 20, 30)
    [task] = volumes("a", region=region, output=output).run._tasks
    assert task.output == output.GetID() and task.region is not None
    [task] = volumes("b").run._tasks
    assert task.output is None and task.region is None


class Files:
    """Work on files of a folder, which is not started."""

    def __init__(self, work: Any, model: Model, folder: Path, *names: str) -> None:
        self.folder, self.output = folder / "in", folder / "out"
        self.folder.mkdir()
        for name in names:
            (self.folder / f"{name}.nrrd").write_bytes(b"voxels")
        self.made = work.FolderWork(self.folder, self.output, model, Options())
        self.run = self.made.run

    def outcome(self, state: str, tried: int, **errors: str) -> str:
        """With so many files that are no longer waiting."""
        self.run.state = state
        del self.run.waiting[:tried]
        self.run.errors = {None if name == "run" else name: said for name, said in errors.items()}
        return self.made.outcome()


@pytest.fixture
def files(work: Any, model: Model, tmp_path: Path) -> Files:
    return Files(work, model, tmp_path, *"abcd")


def test_files_that_are_done_lie_in_their_folder(files: Files) -> None:
    assert files.made.title == str(files.folder) and files.made.results() == []
    assert files.outcome("done", 4) == (f"4 files are done; segmentations and statistics.csv are in '{files.output}'.")


def test_a_file_that_failed_is_named_and_not_counted(files: Files) -> None:
    assert files.outcome("done", 4, b="It is broken.") == "3 of 4 done; b: It is broken."


def test_what_was_left_out_is_no_file_that_failed(files: Files) -> None:
    said = files.outcome("done", 4, **{"/in/lost.nrrd": "'lost.nrrd' is a link to nothing."})
    assert said == "4 of 4 done; /in/lost.nrrd: 'lost.nrrd' is a link to nothing."


def test_what_ended_a_folders_run_is_said_alone(files: Files) -> None:
    assert files.outcome("failed", 2, run="The disk is full.", b="It is broken.") == "The disk is full."


@pytest.mark.parametrize(("errors", "done"), [({}, 3), ({"b": "It is broken."}, 2),
                                              ({"b": "It is broken.", "run": "The disk is full."}, 2)])
def test_a_cancelled_folder_tells_how_many_files_are_done(files: Files, errors: dict[str, str], done: int) -> None:
    said = files.outcome("cancelled", 3, **errors)
    assert said == f"Cancelled; {done} of 4 files are done, and the next run goes on from there."
