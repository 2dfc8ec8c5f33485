"""The command: a short run of all formats, its numbers, its exit codes, and one input read again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from Testing.folders import ROOT
from Testing.fuzz import __main__ as command
from Testing.fuzz.formats import FORMATS

COUNT = 25


def start(*words: str, keep: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-m", "Testing.fuzz", "--keep", str(keep), *words], cwd=ROOT, text=True,
                            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_the_product_withstands_a_short_run(tmp_path: Path) -> None:
    process = start("--count", str(COUNT), "--seed", "1", "--workers", "2", "--quiet", "--json", keep=tmp_path)
    said, problems = process.communicate()
    report = json.loads(said.splitlines()[-1])
    assert process.returncode == 0 and not list(tmp_path.iterdir()), f"{said}\n{problems}"
    assert report["inputs"] == COUNT * len(FORMATS) == report["accepted"] + report["refused"]
    assert set(report["formats"]) == set(FORMATS) and report["accepted"] > 100
    faults = ("crashes", "tracebacks", "hangs", "memory", "wrong_results", "sentences")
    assert not any(report[name] for name in faults)


def test_an_interrupt_ends_it_and_tells_what_there_is(tmp_path: Path) -> None:
    process = start("--count", "100000", "--format", "request", "--json", keep=tmp_path)
    assert process.stderr is not None
    seen = ""
    while "findings" not in seen:  # its progress
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    said, problems = process.communicate()
    assert process.returncode == command.INTERRUPTED and "Traceback" not in problems
    assert 0 < json.loads(said.splitlines()[-1])["inputs"] < 100_000


def test_findings_are_told_kept_and_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "card", type(FORMATS["card"])("card", FORMATS["card"].seeds, FORMATS["card"].changes,
                                                               lambda folder: dict[str, int]()["a"]))
    words = ["--format", "card", "--count", "5", "--workers", "1", "--quiet", "--json", "--keep", str(tmp_path)]
    assert command.main(words) == 1
    said = capsys.readouterr().out
    report = json.loads(said.splitlines()[-1])
    assert report["tracebacks"] == report["formats"]["card"]["tracebacks"] == 5
    assert "| 5 | card | traceback | KeyError |" in said
    assert len(list(tmp_path.iterdir())) == command.KEPT
    assert command.main(["--replay", str(tmp_path / "card-1-0")]) == 1
    assert "KeyError: 'a'" in capsys.readouterr().err
    monkeypatch.undo()
    assert command.main(["--replay", str(tmp_path / "card-1-0" / "finding.json")]) == 0


def test_inputs_are_shared_out_once() -> None:
    planned = command.tasks(["card", "grid"], 250, 1)
    assert [(task.kind.name, len(task.numbers)) for task in planned] == [
        ("card", 100), ("card", 100), ("card", 50), ("grid", 100), ("grid", 100), ("grid", 50)]


def test_an_unknown_format_is_refused_with_the_choices(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--format", "gif"])
    assert "nifti" in capsys.readouterr().err
