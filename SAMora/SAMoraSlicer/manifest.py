"""What a batch run has done, as ``manifest.json`` in its output folder, and the table of all cases."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from SAMoraLib.system.files import atomic_write
from SAMoraSlicer.cases import Case
from SAMoraSlicer.results import Result, write_csv

FORMAT_VERSION = 1
DONE, FAILED = "done", "failed"
BEFORE_A_CHOICE = {"precision": "full", "skim": 1}  # as runs were before these could be chosen


class Manifest:
    """The state of every case that was tried, written after each so that a killed run can go on.

    Args:
        path: the file; read if it is there.
        run: what makes results comparable (model, organs, format, precision, skim), as JSON; a manifest of another
            run is refused.

    Raises:
        ValueError: the file is damaged, or of a run with another model, organs or format.
    """

    def __init__(self, path: Path, run: Mapping[str, Any]) -> None:
        self.path, self.run = path, dict(run)
        self.cases: dict[str, dict[str, Any]] = self._read() if path.exists() else {}

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            run, cases = {**BEFORE_A_CHOICE, **content["run"]}, dict(content["cases"])
            damaged = content["format_version"] != FORMAT_VERSION or any(state["status"] not in (DONE, FAILED)
                                                                         for state in cases.values())
        except (ValueError, KeyError, TypeError, AttributeError):
            damaged = True
        if damaged:
            raise ValueError(f"'{self.path}' cannot be read; rename or delete it, or choose another output folder.")
        for key, wanted in self.run.items():
            if run.get(key) != wanted:
                raise ValueError(f"'{self.path.parent}' holds results of a run with other {key} ({run.get(key)}, now "
                                 f"{wanted}); choose another output folder.")
        return cases

    def is_done(self, case: Case) -> bool:
        """Whether the case's result is there and its input has not changed since."""
        state = self.cases.get(case.name, {})
        return (state.get("status") == DONE and case.output.is_file()
                and state.get("fingerprint") == list(case.fingerprint))

    def record(self, case: Case, status: str, **values: Any) -> None:
        """Note how a case ended, and write the file.

        Raises:
            OSError: the file could not be written; the old one is still there.
        """
        self.cases[case.name] = {"status": status, "input": str(case.input), "output": str(case.output),
                                 "fingerprint": list(case.fingerprint), **values}
        content = {"format_version": FORMAT_VERSION, "run": self.run, "cases": self.cases}
        _write(self.path, json.dumps(content, indent=1, ensure_ascii=False))

    def write_table(self, path: Path) -> None:
        """A CSV file with a row for every organ of every case that is done.

        Raises:
            OSError: the file could not be written, e.g. because a spreadsheet holds it open.
        """
        done = [(name, state) for name, state in sorted(self.cases.items()) if state["status"] == DONE]
        write_csv([Result(name, "", "", "", tuple(state.get("organs", ()))) for name, state in done], path)


def _write(path: Path, text: str) -> None:
    try:
        with atomic_write(path) as unfinished:
            unfinished.write_bytes(text.encode())
    except OSError as error:
        raise OSError(f"'{path}' could not be written ({error.strerror}); check that the disk has room, the folder may "
                      "be written to, and no other program holds the file open.") from error
