"""A folder of volumes, segmented into another folder by a child process: polled, resumable, without the scene."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SAMoraLib.card import read_card
from SAMoraLib.request import DEFAULTS, Job, Options, Request, check_outputs
from SAMoraLib.system.files import file_sha256
from SAMoraLib.system.folder_lock import FolderLock
from SAMoraLib.system.places import identity
from SAMoraLib.system.signals import describe_exit
from SAMoraLib.system.streams import one_line
from SAMoraSlicer.cases import Case, find_cases
from SAMoraSlicer.entries import MANIFEST, SEGMENTATION
from SAMoraSlicer.manifest import DONE, FAILED, Manifest
from SAMoraSlicer.process import ChildProcess, child_environment, python_command
from SAMoraSlicer.run import POLL_SECONDS, seconds_left, unforeseen
from SAMoraSlicer.temporary import PrivateFolder

TABLE = "statistics.csv"


class FolderBatch:
    """Segments every volume of a folder once, however often it is started.

    What is done is not done again; what failed is tried again by the next run. A child that dies takes one case with
    it: the others go on in a new child.

    Args:
        folder: holds files and DICOM series, in sub-folders too.
        output: gets a label volume for every case, ``manifest.json`` and ``statistics.csv``.
        model: checkpoint.
        options: organs, device, precision and what else a request may ask for.
        base: base weights, where the checkpoint leaves them out and they are not beside it.
        ending: file format of the results.
        pattern: keeps inputs whose path below ``folder`` fits.

    Attributes:
        state: "idle", "running", "done" (all cases were tried), "cancelled" or "failed" (nothing more can be done).
        begun: whether a child got as far as its first volume.
        waiting: cases that are not done and, in this run, not yet tried.
        errors: case name -> sentence; under None what stopped the whole run.
        notices: a line for people whenever a case ends or the work goes on in another way.

    Raises:
        FileNotFoundError, ValueError: before anything is written, a run that cannot be carried out.
    """

    def __init__(self, folder: Path, output: Path, model: Path, options: Options = DEFAULTS,
                 base: Path | None = None, ending: str = SEGMENTATION, pattern: str = "*") -> None:
        folder, output, model = folder.absolute(), output.absolute(), model.absolute()
        run = _describe_run(model, options, ending)
        survey = find_cases(folder, output, ending, pattern)
        self.cases = survey.cases
        self.manifest = Manifest(output / MANIFEST, run)
        self._misfits = _misfits(self.cases)
        fitting = [case for case in self.cases if case.name not in self._misfits]
        self._request = Request(_jobs(fitting or self.cases), model, base and base.absolute(), options)
        self.state, self.stage = "idle", ""
        self.errors: dict[str | None, str] = {}
        self.notices: list[str] = []
        for entry in survey.left_out:
            self._leave_out(str(entry.path), entry.reason, entry.is_failure)
        self.waiting = [case for case in self.cases if not self.manifest.is_done(case)]
        self._done_before = len(self.cases) - len(self.waiting)
        for case in [case for case in self.waiting if self.manifest.is_in_the_way(case)]:
            self._leave_out(case.name, _in_the_way(case))
        self.waiting = [case for case in self.waiting if case.name not in self.errors]
        self.current: Case | None = None
        self._child: ChildProcess | None = None
        self._temporary: PrivateFolder | None = None
        self._trace = ""  # of what nobody foresaw
        self._lock = FolderLock(output)
        self._by_input = {str(case.input): case for case in self.cases}
        self._waiting_at_start = 0
        self.begun = False
        self._current_fraction = 0.0
        self._fraction_at_start, self._started = self.fraction, 0.0

    @property
    def fraction(self) -> float:
        """How far the whole run is, 0 to 1."""
        return (len(self.cases) - len(self.waiting) + self._current_fraction) / len(self.cases)

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at the speed so far; None while nothing can be said."""
        gone = self.fraction - self._fraction_at_start if self.begun else 0.0
        return seconds_left(gone, 1 - self.fraction, time.monotonic() - self._started)

    def start(self) -> None:
        """Start on what is not done yet."""
        done = f", {self._done_before} of them done before" if self._done_before else ""
        self.notices.append(f"{len(self.cases)} volumes{done}")
        self.state, self._started = "running", time.monotonic()
        self._guarded(self._begin)

    def step(self) -> bool:
        """Take in what has arrived; True while running."""
        if self.state == "running":
            self._guarded(self._take_what_has_arrived)
        return self.state == "running"

    def wait(self) -> None:
        """Go on until nothing is running."""
        while self.step():
            time.sleep(POLL_SECONDS)

    def cancel(self) -> None:
        """End the child; what is finished stays, and the next run goes on from there."""
        if self.state == "running":
            self._stop("cancelled")

    def report(self) -> str:
        """What a person who is asked for help needs to know, as text; no file is named, because files are named after
        patients."""
        if self._child is None:
            return "Nothing was started."
        paths = [path for case in self.cases for path in (case.input, case.output)]
        return self._child.report([self.manifest.path.parent, *paths], volumes=len(self.cases),
                                  waiting=len(self.waiting), **({"unforeseen": self._trace} if self._trace else {}))

    def _leave_out(self, name: str, reason: str, is_failure: bool = True) -> None:
        self.notices.append(one_line(f"Left out: {reason}"))
        if is_failure:
            self.errors[name] = one_line(reason)

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:  # the system's own errors have a number; what is no sentence is about the request
            self._stop("failed", str(error) if error.errno is None else _no_room(error))
        except Exception as error:
            self._trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
            self._stop("failed", unforeseen(error, "segmenting a folder"))

    def _take_what_has_arrived(self) -> None:
        assert self._child is not None
        code = self._child.poll()  # before the events: once it has ended, none comes after them
        for event in self._child.events():
            self._take(event)
        if code is not None:
            self._child_ended(code, self._child.log)

    def _begin(self) -> None:
        self._lock.take()
        self.manifest.begin(case for case in self.waiting if case.name not in self._misfits)
        for case in [case for case in self.waiting if case.name in self._misfits]:
            self._settle(case, FAILED, message=self._misfits[case.name])
        self._next_child()

    def _next_child(self) -> None:
        """A child for all that is waiting, or the end of the run."""
        if not self.waiting:
            self._stop("done")
            return
        self._waiting_at_start = len(self.waiting)
        self._temporary = self._temporary or PrivateFolder(Path(tempfile.gettempdir()))
        request = self._temporary.path / "request.json"
        replace(self._request, jobs=_jobs(self.waiting)).write(request)
        self._child = ChildProcess()
        self._child.start([*python_command(), "-m", "SAMoraLib", "predict", "--request", str(request), "--json"],
                          child_environment())
        self.stage = "loading the model"

    def _take(self, event: dict[str, Any]) -> None:
        """Handle one line of the child."""
        kind, case = event["event"], self._by_input.get(event.get("volume", ""))
        if (kind == "ready" or case) and not self.begun:  # loading the model is no part of the speed
            self.begun, self._started, self._fraction_at_start = True, time.monotonic(), self.fraction
        if kind == "progress":
            self.current, self._current_fraction, self.stage = case, event["fraction"], event["stage"]
        elif kind == "notice":
            self.notices.append(one_line(event["message"]))
        elif kind == "result" and case:
            self._settle(case, DONE, seconds=event["seconds"], organs=event["organs"])
        elif kind == "error" and case:
            self._settle(case, FAILED, message=event["message"])
        elif kind == "error":
            self.errors[None] = one_line(event["message"])

    def _settle(self, case: Case, status: str, **values: Any) -> None:
        """Note that a case has ended, in the manifest and for people."""
        if status == FAILED and case.name not in self._misfits:
            case.output.unlink(missing_ok=True)  # ours, of the input as it was before, or of a child that was killed
        self.manifest.record(case, status, **values)
        self.waiting.remove(case)
        self.current, self._current_fraction = None, 0.0
        if status == FAILED:
            self.errors[case.name] = said = one_line(values["message"])
        else:
            organs = values["organs"]
            said = f"{sum(organ['found'] for organ in organs)} of {len(organs)} organs found, {values['seconds']:.1f} s"
        count = f"[{len(self.cases) - len(self.waiting)}/{len(self.cases)}]"
        self.notices.append(f"{count} {one_line(case.name)}: {said}")

    def _child_ended(self, code: int, log: str) -> None:
        """What to do about what the child left undone."""
        if self.current:
            self._settle(self.current, FAILED, message=_killed(self.current, code))
        if None in self.errors or len(self.waiting) == self._waiting_at_start:  # a new child would fare no better
            self._stop("failed", self.errors.get(None) or _ended_at_once(code, log))
        else:
            self._next_child()

    def _stop(self, state: str, message: str | None = None) -> None:
        """Leave no child and no temporary file behind, and write the table."""
        if self._child:
            self._child.cancel()
        if self._temporary:
            self._temporary.cleanup()
        self.state, self.current = state, None
        try:
            if self._lock.is_taken:  # else the folder is another run's
                self._write_what_was_done()
        except OSError as error:
            self.state, message = "failed", message or str(error)
        self._lock.release()
        if message:
            self.errors[None] = one_line(message)

    def _write_what_was_done(self) -> None:
        self.manifest.write()
        if self.manifest.cases:
            self.manifest.write_table(self.manifest.path.with_name(TABLE))


def _describe_run(model: Path, options: Options, ending: str) -> dict[str, Any]:
    """What makes results comparable.

    Raises:
        FileNotFoundError, ValueError: no model, or it has no such organ.
    """
    card = read_card(model)
    if card.labels is None:
        raise ValueError(f"'{model.name}' is a checkpoint of kind '{card.kind}', which cannot segment by itself; give "
                         "a trained model.")
    organs = card.labels.names_of(options.organs or card.labels.names)
    kept = [name for name in card.labels.names if name in organs]
    return {"model": f"{card.name} {file_sha256(model)[:16]}", "organs": ",".join(kept), "format": ending,
            "precision": options.precision, "skim": options.skim}


def _misfits(cases: Sequence[Case]) -> dict[str, str]:
    """Why cases' results cannot be written, by name, which is no reason to leave out the others."""
    inputs = {identity(case.input): case.input for case in cases}
    found = {}
    for case in cases:
        place = identity(case.output)
        try:
            check_outputs(_jobs([case]), {inputs[place]: "input"} if place in inputs else {})
        except ValueError as error:
            found[case.name] = str(error)
    return found


def _jobs(cases: Sequence[Case]) -> tuple[Job, ...]:
    return tuple(Job(case.input, case.output) for case in cases)


def _in_the_way(case: Case) -> str:
    return (f"'{case.output}' is in the place of a result and is none as this folder's runs wrote it; move it away, or "
            "choose another output folder.")


def _killed(case: Case, code: int) -> str:
    return (f"'{case.input.name}' could not be segmented: its process {describe_exit(code)}; try a smaller batch "
            "size or the CPU.")


def _ended_at_once(code: int, log: str) -> str:
    last_words = (log.strip().splitlines() or ["it said nothing"])[-1]
    return (f"The process that segments {describe_exit(code)} before its first volume and said: {last_words}; check "
            "that PyTorch is installed.")


def _no_room(error: OSError) -> str:
    return (f"The temporary folder '{tempfile.gettempdir()}' cannot be written to ({error.strerror}); free some space, "
            "or set TMPDIR to another folder.")
