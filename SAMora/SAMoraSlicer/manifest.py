"""What a batch run has done, as ``manifest.json`` in its output folder, and the table of all cases.

While a run goes on, each case that ends is a line appended to ``manifest.jsonl``: the last of thousands costs what the
first does. At the run's end the lines become the file; a run that was killed leaves them to the next one.

What a run is to do is noted before its first result may appear. So a file in a result's place is known: it is a result
as it was written, or one that somebody corrected, or of a run that was killed before it could say so. Any other is
somebody else's, and is not written over.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import atomic_write
from SAMoraLib.system.streams import one_line
from SAMoraLib.system.untrusted_json import parse_json
from SAMoraLib.volume.label_file import is_label_volume
from SAMoraSlicer.cases import Case
from SAMoraSlicer.entries import JOURNAL, MANIFEST_BYTES, journal_entries
from SAMoraSlicer.results import DIGITS, Result, write_csv

FORMAT_VERSION = 1
DONE, FAILED = "done", "failed"
NUMBER = (int, float, type(None))
NO_NUMBER = re.compile(rb'^( *"mean_intensity": )(?:NaN|-?Infinity)\b', re.MULTILINE)  # a text has no line ends
BEFORE_A_CHOICE = {"precision": "full", "skim": 1}  # as runs were before these could be chosen


class Manifest:
    """The state of every case that was tried, noted after each so that a killed run can go on.

    Args:
        path: the file; read if it is there.
        run: what makes results comparable (model, organs, format, precision, skim), as JSON; a manifest of another
            run is refused.

    Attributes:
        cases: name -> what became of each case that was tried.
        begun: name -> result of cases that a run began and did not bring to their end.

    Raises:
        ValueError: the file is damaged, or of a run with another model, organs or format.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, dict(run)
        self.journal = path.with_name(JOURNAL)
        self.begun: dict[str, str] = {}
        self.cases: dict[str, dict[str, Any]] = self._read() if os.path.lexists(path) else {}
        if os.path.lexists(self.journal):
            self._read_journal()
        self._is_open = False

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = _content(self.path)
            damage = "" if _is_manifest(content) else "it is no manifest of a batch"
        except (OSError, ValueError) as error:
            damage = str(getattr(error, "strerror", None) or error)
        if damage:
            raise ValueError(f"'{self.path}' cannot be read; rename or delete it, or choose another output folder: "
                             f"{damage}.")
        self._require_same_run(content["run"])
        self.begun = content.get("begun", {})
        return dict(content["cases"])

    def _read_journal(self) -> None:
        """Of a run that did not come to its end. A line that was cut short is of a case that has not ended."""
        try:
            _require_file(self.journal)
            for entry in journal_entries(self.journal):
                if "run" in entry:
                    self._require_same_run(entry["run"])
                elif _is_begun(entry.get("begun")):
                    self.begun |= entry["begun"]
                elif isinstance(entry.get("name"), str) and _is_state(entry.get("state")):
                    self._take(entry["name"], entry["state"])
        except OSError as error:
            raise ValueError(f"'{self.journal}' cannot be read; rename or delete it, or choose another output folder: "
                             f"{error.strerror}.") from error

    def _take(self, name: str, state: dict[str, Any]) -> None:
        self.cases[name] = state
        self.begun.pop(name, None)

    def _require_same_run(self, found: Any) -> None:
        run = {**BEFORE_A_CHOICE, **(found if isinstance(found, dict) else {})}
        for key, wanted in self.run.items():
            if run.get(key) != wanted:
                raise ValueError(f"'{self.path.parent}' holds results of a run with other {key} "
                                 f"({one_line(str(run.get(key)))[:200]}, now {wanted}); choose another output folder.")

    def is_done(self, case: Case) -> bool:
        """Whether the case's result is there and its input has not changed since.

        A result is what was written, or a label volume that somebody made of it; an empty file is none.
        """
        state = self.cases.get(case.name, {})
        if state.get("status") != DONE or not _is_same_input(state, case):
            return False
        return self._is_result(case, state)

    def is_in_the_way(self, case: Case) -> bool:
        """Whether a file that is not to be lost stands where the case's result is to be written."""
        written = _written(case)
        if not written or case.name in self.begun or self.is_done(case):
            return False
        state = self.cases.get(case.name, {})
        if state.get("status") != DONE:  # no run of this folder has left it there
            return True
        is_older = "result" not in state  # when it was not noted what was written
        return state.get("result") != written and not (is_older and self._is_result(case, state))

    def _is_result(self, case: Case, state: dict[str, Any]) -> bool:
        """A look at a file that is not as it was written is remembered, for it takes a fraction of a second."""
        written = _written(case)
        if written and written not in (state.get("result"), state.get("seen")) and is_label_volume(case.output):
            state["seen"] = written
        return bool(written) and written in (state.get("result"), state.get("seen"))

    def begin(self, cases: Iterable[Case]) -> None:
        """Note what a run is to do: what appears in the place of these results is its own.

        Raises:
            OSError: it could not be written.
        """
        begun = {case.name: str(case.output) for case in cases}
        self.begun |= begun
        self._append({"begun": begun})

    def record(self, case: Case, status: str, **values: Any) -> None:
        """Note how a case ended, in the journal.

        Raises:
            OSError: it could not be written; what was noted before is still there.
        """
        state = {"status": status, "input": str(case.input), "output": str(case.output),
                 "fingerprint": list(case.fingerprint), **values}
        if status == DONE and (written := _written(case)):
            state["result"] = written
        self._take(case.name, state)
        self._append({"name": case.name, "state": state})

    def _append(self, entry: Mapping[str, Any]) -> None:
        lines = [entry] if self._is_open else [{"format_version": FORMAT_VERSION, "run": self.run}, entry]
        _append(self.journal, lines)
        self._is_open = True

    def write(self) -> None:
        """Make the journal's lines a part of the file, at the end of a run; of one that has done nothing, none stays.

        Raises:
            OSError: the file could not be written; the old one and the journal are still there.
        """
        left = {name: output for name, output in self.begun.items() if _is_there(output)}
        content = {"format_version": FORMAT_VERSION, "run": self.run, "cases": self.cases}
        if self.cases or left:
            _write(self.path, json.dumps(content | ({"begun": left} if left else {}), indent=1, ensure_ascii=False))
        self.journal.unlink(missing_ok=True)
        self._is_open = False

    def write_table(self, path: Path) -> None:
        """A CSV file with a row for every organ of every case that is done.

        Raises:
            OSError: the file could not be written, e.g. because a spreadsheet holds it open.
        """
        done = [(name, state) for name, state in sorted(self.cases.items()) if state["status"] == DONE]
        write_csv([Result(_as_text(name), "", "", "", tuple(state.get("organs", ()))) for name, state in done], path)


def _content(path: Path) -> Any:
    """What the file says. Of an organ without a mean, manifests of before say NaN, which is no JSON."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        return parse_json(NO_NUMBER.sub(rb"\1null", file.read(MANIFEST_BYTES + 1)), MANIFEST_BYTES)


def _is_manifest(content: Any) -> bool:
    return (isinstance(content, dict) and content.get("format_version") == FORMAT_VERSION
            and isinstance(content.get("run"), dict) and isinstance(content.get("cases"), dict)
            and all(map(_is_state, content["cases"].values())) and _is_begun(content.get("begun", {})))


def _is_begun(outputs: Any) -> bool:
    return isinstance(outputs, dict) and all(isinstance(output, str) for output in outputs.values())


def _is_state(state: Any) -> bool:
    """Whether it is what became of a case, as far as that is used: its organs are rows of the table."""
    if not isinstance(state, dict) or state.get("status") not in (DONE, FAILED):
        return False
    organs = state.get("organs", [])
    return isinstance(organs, list) and all(map(_is_organ, organs))


def _is_organ(organ: Any) -> bool:
    if not isinstance(organ, dict) or not isinstance(organ.get("name"), str):
        return False
    are_numbers = all(isinstance(organ.get(key), NUMBER) for key in DIGITS)
    return are_numbers and not any(isinstance(value, (dict, list)) for value in organ.values())


def _as_text(name: str) -> str:
    """A name that is no text with its bytes spelt out."""
    return name.encode("utf-8", "backslashreplace").decode()


def _is_same_input(state: Mapping[str, Any], case: Case) -> bool:
    found, now = state.get("fingerprint"), list(case.fingerprint)
    return found == now or found == now[:3]  # before there was a hash


def _written(case: Case) -> list[int]:
    """Bytes and last change (ns) of a result; empty where there is none, or one without a byte."""
    try:
        facts = case.output.stat()
    except OSError:
        return []
    return [facts.st_size, facts.st_mtime_ns] if facts.st_size and case.output.is_file() else []


def _require_file(path: Path) -> os.stat_result:
    """Refuse a link that somebody laid, whose target would be written to, and a pipe, which would be waited for.

    Raises:
        OSError: it is no plain file.
    """
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EEXIST, "it is a link, or no file")
    return facts


def _make_own(path: Path) -> None:
    """A file with this name alone: a snapshot that shares it, or what else does, stays as it is."""
    if _require_file(path).st_nlink != 1:
        with atomic_write(path) as unfinished:
            shutil.copyfile(path, unfinished)


def _append(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """A line each, in one write: the line before it may have been cut short, so a new one begins."""
    text = "".join(f"\n{json.dumps(entry, ensure_ascii=False)}" for entry in entries)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            _make_own(path)
        with path.open("ab") as file:
            if _require_file(path).st_nlink != 1:
                raise OSError(errno.EEXIST, "it has two names")
            file.write(text.encode(errors="backslashreplace"))  # JSON's own way to write what is no text
    except OSError as error:
        raise _unwritten(path, error) from error


def _write(path: Path, text: str) -> None:
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise _unwritten(path, error) from error


def _unwritten(path: Path, error: OSError) -> OSError:
    return OSError(f"'{path}' could not be written ({error.strerror}); check that the disk has room, the folder may be "
                   "written to, and no other program holds the file open.")


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # no file has such a name
        return False
