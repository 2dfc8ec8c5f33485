"""How commands end: sentences, exit codes, signals."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from Testing.folders import ROOT
from Training.settings.program import program

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
ENDLESS = """
import sys, time
from pathlib import Path
from SAMoraLib.system.files import atomic_write
from Training.settings.program import program
with program(), atomic_write(Path(sys.argv[1]) / "result") as unfinished:
    unfinished.write_text("half")
    print("begun", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("error", [ValueError("It is 3; choose 2."), FileNotFoundError("There is no 'a'; make it.")])
def test_what_is_refused_is_the_last_line(error: Exception) -> None:
    with pytest.raises(SystemExit) as stop, program():
        raise error
    assert stop.value.code == str(error)


def test_a_fault_of_the_program_itself_is_not_made_a_sentence() -> None:
    with pytest.raises(KeyError), program():
        raise KeyError("a")


def test_an_interruption_is_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop, program():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    assert capsys.readouterr().err == "Stopped; the same command goes on from here.\n"


@posix
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_leaves_nothing_half_done(tmp_path: Path, name: str, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == "begun\n" and list(tmp_path.iterdir())
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (code, "Stopped; the same command goes on from here.\n")
    assert not list(tmp_path.iterdir())


@posix
def test_several_signals_do_not_interrupt_the_tidying_up() -> None:
    tidied = []
    with pytest.raises(SystemExit) as stop, program():
        try:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            tidied.append(True)
    assert stop.value.code == 129 and tidied


@posix
def test_handlers_are_put_back_and_an_ignored_signal_stays_ignored() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with program():
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGTERM) is not before[0]
        assert signal.getsignal(signal.SIGTERM) is before[0]
    finally:
        signal.signal(signal.SIGHUP, before[1])


def test_it_runs_in_any_thread() -> None:
    done: list[bool] = []

    @program()
    def work() -> None:
        done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


@pytest.mark.parametrize("name", ["evaluate", "probe", "fusion_report", "sample_unlabelled", "step_time", "compare"])
def test_every_command_refuses_a_file_that_is_none_in_a_sentence(tmp_path: Path, name: str,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_bytes(b"[" * 100_000)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "results.json").write_bytes(b"[" * 100_000)
    manifest, output = f"--manifest={tmp_path / 'manifest.json'}", f"--output={tmp_path / 'output'}"
    weights = f"={tmp_path / 'none.safetensors'}"
    arguments = {"evaluate": [manifest, output, f"--checkpoint{weights}"], "step_time": [manifest],
                 "fusion_report": [weights[1:]], "sample_unlabelled": [manifest, output],
                 "probe": [manifest, output, f"--base{weights}", f"--experts{weights}"], "compare": [str(tmp_path)]}
    with pytest.raises(SystemExit) as stop:
        importlib.import_module(f"Training.{name}").main(arguments[name])
    said = stop.value.code if isinstance(stop.value.code, str) else capsys.readouterr().err.strip()
    assert said.endswith(".") and "Traceback" not in said and not (tmp_path / "output").exists()
