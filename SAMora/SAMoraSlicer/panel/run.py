"""Apply that becomes Cancel, the progress bar, the sentence with its button, and the log."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SAMoraSlicer.nodes import private_in_scene
from SAMoraSlicer.panel.hint import NO_SPACE, Hint, duration, plain, short
from SAMoraSlicer.panel.work import Work
from SAMoraSlicer.process import ChildProcess
from SAMoraSlicer.report import anonymous
from SAMoraSlicer.run import Run, unforeseen

LONGEST_STAGE, LONGEST_SENTENCE = 60, 1000


class RunSection:
    """Shows one piece of work at a time, and what may be done next.

    Args:
        ui: the panel's widgets.
        finished: called with the work when it has ended, however it did.

    Attributes:
        work: what runs; None while nothing does.
        message: what is to be said about the last one, until something else is chosen.
    """

    def __init__(self, ui: Any, finished: Callable[[Work], None]) -> None:
        self.ui, self._finished = ui, finished
        self.work: Work | None = None
        self.message: Hint | None = None
        self._last: Work | None = None
        self._trace = ""  # of what nobody foresaw in the last one
        self._notices = 0
        self._action: Callable[[], None] | None = None
        ui.statusButton.connect("clicked(bool)", self._act)
        ui.copyReportButton.connect("clicked(bool)", self.copy_report)
        ui.copyReportButton.enabled = False
        ui.progressBar.visible = False

    @property
    def busy(self) -> bool:
        return self.work is not None

    def start(self, make: Callable[[], Work]) -> None:
        """Make the work and start it; what cannot be carried out becomes a message."""
        work, self._trace = None, ""
        qt.QApplication.setOverrideCursor(qt.QCursor(qt.Qt.WaitCursor))
        try:
            work = make()
            work.run.start()
        except (ValueError, OSError, RuntimeError) as error:
            self.tell(str(error))
            return
        except Exception as error:
            self._last = None
            self._give_up(error, _("the work was being prepared"), work)
            return
        finally:
            qt.QApplication.restoreOverrideCursor()
        self.work, self._last, self._notices, self.message = work, work, 0, None
        self.ui.copyReportButton.enabled = True
        self._note(_("Started: {title}").format(title=work.title))

    def step(self) -> None:
        """Take in what the work's child process says."""
        self._go_on(lambda work: work.run.step())

    def cancel(self) -> None:
        """End the work now; the scene stays as it was."""
        self._go_on(lambda work: work.run.cancel())

    def _go_on(self, action: Callable[[Work], object]) -> None:
        """Do something with the work, and what is to be done when it has ended by that. Nothing is raised: whoever
        calls is a timer or a button.
        """
        work = self.work
        if work is None:
            return
        try:
            if not action(work):
                self._end(work)
        except Exception as error:
            self.work = None
            self._give_up(error, _("the work was going on"), work)

    def _give_up(self, error: Exception, when: str, work: Work | None) -> None:
        """End the work, say what nobody foresaw, and keep where it happened for the report."""
        self._trace = traceback.format_exc()
        try:
            if work is not None:
                work.run.cancel()
        except Exception:
            self._trace += traceback.format_exc()
        self.tell(unforeseen(error, when))
        self.message = Hint(unforeseen(error, when), _("Copy report"), self.copy_report, ready=True)
        self.ui.copyReportButton.enabled = True

    def show(self, hint: Hint) -> None:
        """Show the running work, else this sentence and its button, and whether Apply may be pressed."""
        ui = self.ui
        if self.work is not None:
            hint = Hint(_said_last(self.work), ready=True)
            self._show_progress(self.work.run)
        ui.progressBar.visible = self.busy
        ui.applyButton.text = _("Cancel") if self.busy else _("Apply")
        ui.applyButton.enabled = hint.ready
        ui.statusLabel.text = sentence = short(hint.sentence, LONGEST_SENTENCE)
        ui.applyButton.toolTip = ui.statusLabel.toolTip = plain(sentence)
        ui.statusButton.text = hint.button
        ui.statusButton.visible = bool(hint.button)
        self._action = hint.action
        for section in (ui.setupButton, ui.tabs, ui.modelSection):
            section.enabled = not self.busy

    def copy_report(self) -> None:
        """Put a report of the last run on the clipboard."""
        if self._last is not None or self._trace:
            qt.QApplication.clipboard().setText(self._report())
            self._note(_("The report is on the clipboard."))

    def _report(self) -> str:
        private: Sequence[str | Path] = [*private_in_scene(), *(self._last.private if self._last is not None else ())]
        try:
            said = self._last.run.report() if self._last is not None else ChildProcess().report(private)
        except Exception:
            said = anonymous(traceback.format_exc(), private)
        return f"{said}\n{anonymous(self._trace, private)}".rstrip()

    def tell(self, sentence: str) -> None:
        """Show a sentence until something else is chosen."""
        self.message = Hint(sentence, ready=True)
        self._note(sentence)

    def _act(self) -> None:
        if self._action is not None:
            self._action()

    def _end(self, work: Work) -> None:
        self.work = None
        self._take_notices(work.run)
        failed = bool(work.run.errors) or work.run.state == "failed"
        sentence = work.outcome()
        self.message = Hint(sentence, ready=True)
        if failed:
            self.message = Hint(sentence, _("Copy report"), self.copy_report, ready=True)
        for said in work.run.errors.values():
            self._note(said)
        if not failed:
            self._note(sentence)
        self._finished(work)

    def _show_progress(self, run: Run) -> None:
        self._take_notices(run)
        stage = short(run.stage, LONGEST_STAGE).replace("%", f"%{NO_SPACE}")  # %p and the like are the bar's own
        words = [stage or _("starting"), "%p %"]
        if (left := run.seconds_left) is not None:
            words.append(_("about {time} left").format(time=duration(left)))
        self.ui.progressBar.value = int(100 * run.fraction)
        self.ui.progressBar.format = ", ".join(words)

    def _take_notices(self, run: Run) -> None:
        for notice in run.notices[self._notices:]:
            self._note(notice)
        self._notices = len(run.notices)

    def _note(self, line: str) -> None:
        self.ui.log.appendPlainText(short(line, LONGEST_SENTENCE))


def _said_last(work: Work) -> str:
    return work.run.notices[-1] if work.run.notices else _("Segmenting {title}").format(title=work.title)
