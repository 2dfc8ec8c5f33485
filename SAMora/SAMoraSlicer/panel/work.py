"""The two kinds of work that Apply starts, with what the panel says of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from slicer.i18n import tr as _

from SAMoraLib.request import Options
from SAMoraLib.system.streams import one_line
from SAMoraSlicer.models import Model
from SAMoraSlicer.panel.hint import duration
from SAMoraSlicer.results import Result
from SAMoraSlicer.run import Run


class Work(Protocol):
    """A run, and what the panel says of it.

    Attributes:
        title: of what is worked on.
        private: paths and names that a report must not tell, beside those of the scene.
    """

    title: str
    private: Sequence[str | Path]

    @property
    def run(self) -> Run:
        """What is started and polled."""

    def results(self) -> list[Result]:
        """What the panel's table shows when the run has ended."""

    def outcome(self) -> str:
        """One sentence about how it ended."""


class SceneWork:
    """Volumes of the scene, a segmentation for each.

    Raises:
        FileNotFoundError, ValueError: before anything is done, work that cannot be carried out.
    """

    def __init__(self, volumes: Sequence[Any], model: Model, options: Options, region: Any = None, output: Any = None
                 ) -> None:
        from SAMoraSlicer.segmenting import Segmenting  # SimpleITK: not while the panel opens

        self._names = {volume.GetID(): volume.GetName() for volume in volumes}
        self._modality = model.modality
        self._started = time.monotonic()
        self.title = ", ".join(self._names.values())
        self.private: Sequence[str | Path] = list(self._names.values())
        self.run = Segmenting(volumes, model.checkpoint, options, region,
                              outputs=[output] if output is not None else None)

    def results(self) -> list[Result]:
        """What was found, in the order of the volumes."""
        done = self.run.results
        return [Result(name, volume, done[volume]["segmentation"], self._modality, tuple(done[volume]["rows"]))
                for volume, name in self._names.items() if volume in done]

    def outcome(self) -> str:
        """One sentence about how it ended."""
        results, count = self.results(), len(self._names)
        if self.run.state == "cancelled" and not results:
            return _("Cancelled; the scene is unchanged.")
        if self.run.state == "cancelled":
            return _("Cancelled; {done} of {all} volumes were finished before.").format(done=len(results), all=count)
        if self.run.errors:
            errors = [(self._names.get(volume, ""), said) for volume, said in self.run.errors.items()]
            return _failed(errors, len(results), count)
        took = duration(time.monotonic() - self._started)
        if len(results) > 1:
            return _("{count} volumes segmented in {time}.").format(count=len(results), time=took)
        return _("{found} of {all} organs found in {time}.").format(
            found=results[0].found, all=len(results[0].organs), time=took)


class FolderWork:
    """Files of a folder, a file for each in another folder.

    Raises:
        FileNotFoundError, ValueError: before anything is written, work that cannot be carried out.
    """

    def __init__(self, folder: Path, output: Path, model: Model, options: Options) -> None:
        from SAMoraSlicer.batch import FolderBatch

        self.output = output
        self.title = str(folder)
        self.run = FolderBatch(folder, output, model.checkpoint, options)
        self._count = len(self.run.cases)
        cases = [path for case in self.run.cases for path in (case.input, case.output)]
        self.private: Sequence[str | Path] = [folder, output, *cases]

    def results(self) -> list[Result]:
        """None: they are in the output folder, however many."""
        return []

    def outcome(self) -> str:
        """One sentence about how it ended."""
        failed = [case for case in self.run.cases if case.name in self.run.errors]
        done = self._count - len(self.run.waiting) - len(failed)
        if self.run.state == "cancelled":
            return _("Cancelled; {done} of {all} files are done, and the next run goes on from there.").format(
                done=done, all=self._count)
        if self.run.errors:
            return _failed([(one_line(name or ""), said) for name, said in self.run.errors.items()], done, self._count)
        return _("{count} files are done; segmentations and statistics.csv are in '{folder}'.").format(
            count=self._count, folder=self.output)


def _failed(errors: Sequence[tuple[str, str]], done: int, count: int) -> str:
    """The first error; with how many were done where there were several volumes."""
    name, said = errors[0]
    if not name or (count == 1 and not done):
        return said
    return _("{done} of {all} done; {name}: {said}").format(done=done, all=count, name=name, said=said)
