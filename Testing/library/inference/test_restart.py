"""A volume that ends the process is named, and the run goes on with the next in a new one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.inference import restart
from SAMoraLib.inference.restart import (
    DONE,
    READING,
    REFUSED,
    SEGMENTING,
    is_worth_it,
    predict_and_restart,
    sentence,
)
from SAMoraLib.request import Job, Request
from Testing.folders import ROOT
from Testing.library.inference.test_predict_files import save, write_ct

DEADLY = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
STAGES = {"segv": (READING, signal.SIGSEGV), "kill": (SEGMENTING, signal.SIGKILL),
          "abort": (SEGMENTING, signal.SIGABRT), "after": (DONE, signal.SIGSEGV)}


def request(*names: str) -> Request:
    return Request(tuple(Job(Path(f"{number}-{name}"), Path(f"{number}.nrrd")) for number, name in enumerate(names)),
                   Path("model.safetensors"))


def predict(request: Request, as_json: bool, tell: Any) -> int:
    """Does to each volume what its name says."""
    for number, job in enumerate(request.jobs):
        what = job.input.name.partition("-")[2]
        tell((number, READING))
        if what in STAGES:
            tell((number, STAGES[what][0]))
            os.kill(os.getpid(), STAGES[what][1])
        print(f"did {job.input}", flush=True)
        tell((number, REFUSED if what == "bad" else DONE))
    return sum(job.input.name.endswith("bad") for job in request.jobs)


def never_begins(request: Request, as_json: bool, tell: Any) -> int:
    os.kill(os.getpid(), signal.SIGSEGV)
    return 0


@DEADLY
@pytest.mark.parametrize("start", dict.fromkeys([restart.START, "spawn"]))
def test_the_run_goes_on_after_what_ended_it(capfd: pytest.CaptureFixture[str], start: str) -> None:
    names = ("good", "segv", "bad", "kill", "good", "after", "abort")
    assert predict_and_restart(predict, request(*names), True, start) == 4
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("did")] == ["did 0-good", "did 2-bad", "did 4-good"]
    errors = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(error["event"], error["volume"]) for error in errors] == [
        ("error", "1-segv"), ("error", "3-kill"), ("error", "6-abort")]
    assert errors[0]["message"] == ("'1-segv' cannot be read: the process was ended by signal 11 (Segmentation fault) "
                                    "while reading it; it is damaged, so export it again.")
    assert "most often because memory ran out while segmenting it" in errors[1]["message"]
    assert "'6-abort' could not be segmented: the process was ended by signal 6" in errors[2]["message"]


@DEADLY
@pytest.mark.parametrize(("stage", "code", "problem", "advice"), [
    (READING, -9, "could not be segmented", "while reading it; close other programs"),
    (SEGMENTING, -9, "could not be segmented", "while segmenting it; close other programs"),
    (READING, -11, "cannot be read", "it is damaged, so export it again"),
    (SEGMENTING, -11, "could not be segmented", "try a smaller batch size or another device")])
def test_what_to_do_depends_on_what_ended_it_and_when(stage: str, code: int, problem: str, advice: str) -> None:
    said = sentence(request("good").jobs[0], stage, code)
    assert said.startswith(f"'0-good' {problem}: the process ") and advice in said


@DEADLY
def test_what_ends_before_the_first_volume_ends_the_run() -> None:
    with pytest.raises(OSError, match=r"was ended by signal 11 \(Segmentation fault\) before its first volume"):
        predict_and_restart(never_begins, request("good"), False)


def test_a_new_interpreter_is_for_several_volumes() -> None:
    assert is_worth_it(request("good"), "fork") and is_worth_it(request("good", "good"), "spawn")
    assert not is_worth_it(request("good"), "spawn")


PROGRAM = """
import os, signal, sys
from SAMoraLib import cli
from SAMoraLib.volume import io

read = io.read_volume

def deadly(path, tell):
    if path.name.startswith("deadly"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return read(path, tell)

io.read_volume = deadly
sys.exit(cli.main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the reader is changed in what the child is copied from")
def test_a_reader_that_dies_takes_one_volume(tmp_path: Path) -> None:
    """Of the program itself, as Slicer starts it."""
    inputs = [write_ct(tmp_path / "a.nrrd"), write_ct(tmp_path / "deadly.nrrd"), write_ct(tmp_path / "b.nrrd", 1)]
    ended = subprocess.run([sys.executable, "-c", PROGRAM, "predict", *map(str, inputs), "--model", str(save(tmp_path)),
                            "--output", str(tmp_path / "out/"), "--device", "cpu", "--json"], capture_output=True,
                           text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    ends = [(event["event"], Path(event["volume"]).name) for event in events if event["event"] in ("error", "result")]
    assert ended.returncode == 1, ended.stderr
    assert ends == [("result", "a.nrrd"), ("error", "deadly.nrrd"), ("result", "b.nrrd")]
    assert ended.stderr.splitlines() == [f"samora: {event['message']}" for event in events if event["event"] == "error"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a_segmentation.seg.nrrd",
                                                                          "b_segmentation.seg.nrrd"]
