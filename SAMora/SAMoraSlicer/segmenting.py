"""One segmentation run, from volume nodes to segmentation nodes, through a child process.

The panel starts it and polls it with a timer; the console starts it and waits. A volume's result enters the scene when
it has arrived whole, and nothing else changes the scene.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer

from SAMoraLib.card import read_card
from SAMoraLib.labels import LabelSet
from SAMoraLib.request import DEFAULTS, Job, Options, Request
from SAMoraLib.system.signals import describe_exit
from SAMoraLib.system.streams import one_line
from SAMoraLib.volume import Region
from SAMoraSlicer.nodes import check_volume, geometry_of, import_labels, private_in_scene, region_of, write_volume
from SAMoraSlicer.process import ChildProcess, child_environment, python_command
from SAMoraSlicer.run import POLL_SECONDS, seconds_left, unforeseen
from SAMoraSlicer.temporary import PrivateFolder

LONGEST_NAME = 100


@dataclass(frozen=True)
class Task:
    """One volume of a run. Nodes are held by their ids, because they may go while the child works."""

    number: int
    name: str
    volume: str
    output: str | None
    region: Region | None
    geometry: tuple[float, ...]

    @property
    def input_name(self) -> str:
        """Of its file: no patient's name goes to the disk or into a log."""
        return f"volume-{self.number}.nrrd"

    @property
    def label_name(self) -> str:
        return f"labels-{self.number}.nrrd"

    @property
    def size(self) -> str:
        """Voxels along each axis, for people."""
        return " x ".join(f"{size:g}" for size in self.geometry[:3])

    def node(self) -> Any:
        """The volume node.

        Raises:
            ValueError: it is gone, or its grid is no longer the one that was segmented.
        """
        node = slicer.mrmlScene.GetNodeByID(self.volume)
        if node is None or geometry_of(node) != self.geometry:
            fate = "was removed from the scene" if node is None else "was changed"
            raise ValueError(f"'{self.name}' {fate} while it was being segmented; its result is dropped.")
        return node


class Segmenting:
    """A run over one or more volumes.

    Args:
        volumes: scalar volume nodes.
        model: checkpoint.
        options: organs, device, precision and what else a request may ask for.
        region: markups ROI node to segment in.
        outputs: for every volume a segmentation node, or None for a new one; all new by default.
        command: the Python to start in place of PythonSlicer, with its first arguments.

    Attributes:
        state: "idle", "running", "done" (every volume was tried), "cancelled", or "failed" (no volume was segmented, or
            the child ended too early; what was finished by then stays).
        fraction: how far the whole run is, 0 to 1.
        stage: what is being done, in a word or two.
        running_on: the device that the child chose; "" until it is known.
        results: id of the volume node -> {"segmentation": id of its node, "rows": organs as in the child's ``result``
            event, "seconds": time that it took}.
        errors: id of the volume node -> sentence; under None what ended the whole run.
        notices: what had to be done otherwise than asked, e.g. for want of memory.

    Raises:
        ValueError, FileNotFoundError: a volume, the model, an organ, the region or an output cannot be used.
    """

    def __init__(self, volumes: Sequence[Any], model: str | Path, options: Options = DEFAULTS, region: Any = None,
                 outputs: Sequence[Any] | None = None, command: Sequence[str] | None = None) -> None:
        self._model, self._options, self._command = Path(model).absolute(), options, command
        self._name, self._labels = _read_model(self._model, options.organs)
        self._tasks = _make_tasks(volumes, region, outputs)
        self.state, self.stage, self.fraction, self.running_on = "idle", "", 0.0, ""
        self.results: dict[str, dict[str, Any]] = {}
        self.errors: dict[str | None, str] = {}
        self.notices: list[str] = []
        self._child = ChildProcess()
        self._to_write = list(self._tasks)
        self._written: list[Task] = []
        self._said: list[str] = []  # errors as the child said them, without the volumes' names
        self._ready_at: float | None = None
        self._private = private_in_scene()  # also of what is gone from the scene when a report is asked for
        self._trace = ""

    @property
    def seconds_left(self) -> float | None:
        """None until enough is done to tell."""
        if self._ready_at is None or self.state != "running":
            return None
        return seconds_left(self.fraction, 1 - self.fraction, time.monotonic() - self._ready_at)

    def start(self) -> None:
        """Begin; ``step`` or ``wait`` goes on. Closing the scene or Slicer cancels."""
        try:
            self._temporary = PrivateFolder(Path(slicer.app.temporaryPath))
        except OSError:
            self.state, self.errors[None] = "failed", _no_room()
            return
        self._folder = self._temporary.path
        self._observer = slicer.mrmlScene.AddObserver(slicer.mrmlScene.StartCloseEvent, lambda *_: self.cancel())
        slicer.app.connect("aboutToQuit()", self.cancel)
        self.state, self.stage = "running", "writing"

    def step(self) -> bool:
        """Handle what has arrived, without waiting; True while running. Nothing is raised: whoever asks is a timer."""
        try:
            if self.state == "running":
                self._write_next() if self._to_write else self._listen()
        except OSError as error:  # ours are sentences; the system's own have a number
            self._end("failed", str(error) if error.errno is None else _no_room())
        except Exception as error:
            self._end("failed", self._noted(error, "the segmentation was going on"))
        return self.state == "running"

    def wait(self, timeout: float | None = None) -> bool:
        """Go on until the run has ended, or for ``timeout`` seconds; whether it has ended. An interruption cancels."""
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while self.step():
                if end is not None and time.monotonic() > end:
                    return False
                time.sleep(POLL_SECONDS)
        except BaseException:
            self.cancel()
            raise
        return True

    def cancel(self) -> None:
        """End the child and remove all temporary files, within 2 s; finished volumes keep their results."""
        if self.state == "running":
            self._end("cancelled")

    def report(self) -> str:
        """What happened, for whoever is asked for help; no name of a volume, a path or an account."""
        grids = [task.size for task in self._tasks]
        private = [*self._private, *private_in_scene(), self._model.parent, Path(slicer.app.temporaryPath)]
        return self._child.report(
            private, slicer=f"{slicer.app.applicationVersion} ({slicer.app.revision})", model=self._name,
            device=f"{self._options.device} {self.running_on}", volumes=", ".join(grids),
            state=f"{self.state}, {self.stage} {self.fraction:.0%}", said=" ".join(self._said),
            **({"unforeseen": self._trace} if self._trace else {}))

    def _write_next(self) -> None:
        """One volume a step, so that Slicer does not stand still for all of them; after the last the child starts."""
        task = self._to_write.pop(0)
        try:
            write_volume(task.node(), self._folder / task.input_name)
            self._written.append(task)
        except ValueError as error:
            self.errors[task.volume] = str(error)
        except OSError as error:
            raise OSError(_no_room()) from error
        if self._to_write:
            return
        if not self._written:
            self._end("failed")
            return
        jobs = tuple(Job(self._folder / task.input_name, self._folder / task.label_name, task.region)
                     for task in self._written)
        Request(jobs, self._model, options=self._options).write(self._folder / "request.json")
        self._child.start([*(self._command or python_command()), "-m", "SAMoraLib", "predict", "--request",
                           str(self._folder / "request.json"), "--json"], child_environment())
        self.stage = "loading the model"

    def _listen(self) -> None:
        code = self._child.poll()  # before the events: once it has ended, none comes after them
        for event in self._child.events():
            if self.state == "running":
                self._take(event)
        if code is not None and self.state == "running":
            self._child_ended(code)

    def _take(self, event: dict[str, Any]) -> None:
        kind, task = event["event"], self._task_of(event.get("volume"))
        if kind == "ready":
            self._ready_at, self.running_on = self._ready_at or time.monotonic(), event["device"]
        elif kind == "progress" and task:
            self.stage = event["stage"]
            self.fraction = (self._finished + event["fraction"]) / len(self._tasks)
        elif kind == "notice":
            self.notices.append(self._with_names(event["message"]))
        elif kind == "result" and task:
            self._bring_in(task, event)
        elif kind == "error":
            self._said.append(event["message"])
            self.errors[task.volume if task else None] = self._with_names(event["message"])

    def _bring_in(self, task: Task, event: dict[str, Any]) -> None:
        """The result of a volume enters the scene."""
        self.stage = "importing"
        try:
            output = slicer.mrmlScene.GetNodeByID(task.output) if task.output else None
            node = import_labels(self._folder / task.label_name, self._labels, task.node(), output,
                                 self._options.organs)
        except ValueError as error:
            self.errors[task.volume] = self._with_names(str(error))
            return
        except Exception as error:  # the others may fare better
            self.errors[task.volume] = self._noted(error, f"the result of '{task.name}' was brought in")
            return
        self.results[task.volume] = {"segmentation": node.GetID(), "rows": event["organs"], "seconds": event["seconds"]}
        self.fraction = self._finished / len(self._tasks)

    def _noted(self, error: Exception, when: str) -> str:
        """The sentence of what nobody foresaw; the report tells where it happened."""
        self._trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        return unforeseen(error, when)

    def _child_ended(self, code: int) -> None:
        if None not in self.errors and self._finished < len(self._tasks):
            self.errors[None] = (f"The program that segments {describe_exit(code)}; close other programs and try "
                                 "again, or ask for help with the text of 'Copy report'.")
        self._end("failed" if None in self.errors or not self.results else "done")

    def _end(self, state: str, message: str | None = None) -> None:
        """Leave nothing behind."""
        self.state = state
        if message:
            self.errors[None] = message
        slicer.mrmlScene.RemoveObserver(self._observer)
        slicer.app.disconnect("aboutToQuit()", self.cancel)
        self._child.cancel()
        self._temporary.cleanup()

    @property
    def _finished(self) -> int:
        return len(self.results) + sum(volume is not None for volume in self.errors)

    def _task_of(self, path: str | None) -> Task | None:
        return next((task for task in self._tasks if path and Path(path).name == task.input_name), None)

    def _with_names(self, message: str) -> str:
        """A sentence about a temporary file as one about its volume."""
        for task in self._tasks:
            for file in (task.input_name, task.label_name):
                message = message.replace(str(self._folder / file), task.name).replace(file, task.name)
        return message


def _read_model(model: Path, organs: Sequence[str] | None) -> tuple[str, LabelSet]:
    """The model's name and labels."""
    card = read_card(model)
    if card.labels is None:
        raise ValueError(f"'{model.name}' is a checkpoint of kind '{card.kind}', which cannot segment by itself; "
                         "choose a trained model.")
    for organ in organs or ():
        card.labels.by_name(organ)
    return one_line(card.name[:LONGEST_NAME]), card.labels


def _make_tasks(volumes: Sequence[Any], region: Any, outputs: Sequence[Any] | None) -> tuple[Task, ...]:
    if not volumes:
        raise ValueError("There is no volume to segment; choose one.")
    for volume in volumes:
        check_volume(volume)
    written_to = [output for output in outputs or () if output is not None]
    if len({output.GetID() for output in written_to}) < len(written_to):
        raise ValueError("Several volumes would be written to the same segmentation; choose one for each, or new ones.")
    pairs = zip(volumes, outputs or [None] * len(volumes), strict=True)
    return tuple(Task(number, volume.GetName(), volume.GetID(), output.GetID() if output is not None else None,
                      region_of(region, volume) if region is not None else None, geometry_of(volume))
                 for number, (volume, output) in enumerate(pairs, start=1))


def _no_room() -> str:
    return (f"The temporary folder '{slicer.app.temporaryPath}' cannot be written to; free some space there, or choose "
            "another one in Slicer's application settings.")
