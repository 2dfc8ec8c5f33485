"""What is told while volumes are segmented: lines for programs, a bar and tables for people."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.inference.organ_table import OrganRow
from SAMoraLib.inference.reporter import Reporter, format_table

LIVER = OrganRow("liver", "Liver", 1000, 30.04, 101.25, 0.876)
SPLEEN = OrganRow("spleen", "Spleen", 0, 0.0, None)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_programs_get_every_event_as_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=True)
    reporter.event("ready", volumes=2)
    reporter.progress("ct.nrrd", 1 / 3, "segmenting")
    reporter.notice("Memory ran out.")
    reporter.failure("b.nrrd", "It is broken.")
    reporter.result("ct.nrrd", Path("out.nrrd"), [LIVER, SPLEEN], 1.23456)
    assert lines(capsys) == [
        {"event": "ready", "volumes": 2},
        {"event": "progress", "volume": "ct.nrrd", "fraction": 0.3333, "stage": "segmenting"},
        {"event": "notice", "message": "Memory ran out."},
        {"event": "error", "volume": "b.nrrd", "message": "It is broken."},
        {"event": "result", "volume": "ct.nrrd", "output": "out.nrrd", "seconds": 1.23, "organs": [
            {"name": "liver", "title": "Liver", "voxels": 1000, "volume_ml": 30.04, "mean_intensity": 101.25,
             "confidence": 0.876, "found": True},
            {"name": "spleen", "title": "Spleen", "voxels": 0, "volume_ml": 0.0, "mean_intensity": None,
             "confidence": None, "found": False}]},
    ]


def test_people_get_the_result_as_a_table_and_no_events(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=False)
    reporter.event("ready", volumes=2)
    reporter.progress("ct.nrrd", 0.5, "segmenting")
    reporter.result("ct.nrrd", Path("out.nrrd"), [LIVER, SPLEEN], 1.26)
    assert capsys.readouterr().out == (
        "ct.nrrd -> out.nrrd (1.3 s)\n"
        "  organ            volume (ml)      mean  confidence\n"
        "  Liver                   30.0     101.2        0.88\n"
        "  Spleen             not found\n")


def test_notices_and_failures_go_to_standard_error_for_both(capsys: pytest.CaptureFixture[str]) -> None:
    for as_json in (False, True):
        reporter = Reporter(as_json)
        reporter.notice("Memory ran out.")
        reporter.failure("b.nrrd", "It is broken.")
        assert capsys.readouterr().err == "samora: Memory ran out.\nsamora: It is broken.\n"


def test_a_name_does_not_break_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(as_json=False)
    reporter.failure("a\nb.nrrd", "'a\nb.nrrd' is broken.")
    reporter.result("a\nb.nrrd", Path("a\nb_segmentation.nrrd"), [], 1.0)
    said = capsys.readouterr()
    assert said.err == "samora: 'a\\nb.nrrd' is broken.\n"
    assert said.out.splitlines()[0] == "a\\nb.nrrd -> a\\nb_segmentation.nrrd (1.0 s)"


@pytest.mark.parametrize("as_json", [False, True])
def test_where_nobody_watches_there_is_no_bar(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard error of a file, or lines for a program."""
    monkeypatch.setattr(sys, "stderr", Terminal() if as_json else io.StringIO())
    reporter = Reporter(as_json)
    reporter.progress("ct.nrrd", 0.5, "segmenting")
    assert reporter.bar is None and sys.stderr.getvalue() == ""


def test_the_bar_goes_with_the_fraction_and_ends_with_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    reporter = Reporter(as_json=False)
    seen = []
    for fraction in (0.0, 0.104, 0.5, 1.0):
        reporter.progress("ct.nrrd", fraction, "segmenting")
        assert reporter.bar is not None
        seen.append(reporter.bar.n)
    assert seen == [0, 10, 50, 100] and reporter.bar is not None and reporter.bar.total == 100
    assert "ct.nrrd" in sys.stderr.getvalue()
    reporter.notice("Memory ran out.")
    assert reporter.bar is None
    reporter.progress("b.nrrd", 0.25, "segmenting")
    assert reporter.bar is not None and reporter.bar.n == 25
    reporter.result("b.nrrd", Path("out.nrrd"), [], 1.0)
    assert reporter.bar is None


def test_a_mean_that_is_no_number_is_left_empty() -> None:
    table = format_table([OrganRow("liver", "Liver", 1, 2.0, None, 0.5)]).splitlines()
    assert table[1].split() == ["Liver", "2.0", "0.50"] and len(table[0]) == len(table[1])


def test_a_table_has_a_line_per_organ_and_leaves_unknown_confidence_empty() -> None:
    table = format_table([OrganRow("liver", "Liver", 1, 2.0, -3.0), SPLEEN]).splitlines()
    assert [len(line) for line in table] == [52, 40, 30]
    assert table[1].split() == ["Liver", "2.0", "-3.0"]
