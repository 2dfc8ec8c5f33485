"""Child processes, real ones: what they say arrives, and nothing of them is left behind."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from SAMoraLib.system.signals import describe_exit
from SAMoraSlicer import process
from SAMoraSlicer.process import (
    LIBRARY,
    LOG_LINES,
    MODULE,
    ChildProcess,
    child_environment,
    python_command,
)

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
SAY = "import json, sys, time\ndef say(**event): print(json.dumps(event), flush=True)\n"


def start(code: str) -> ChildProcess:
    child = ChildProcess()
    child.start([sys.executable, "-c", SAY + code])
    return child


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def ended(child: ChildProcess) -> int:
    wait_until(lambda: child.poll() is not None)
    return child.poll()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text(encoding="utf-8").rsplit(") ", 1)[1][0] != "Z"


def test_events_arrive_in_order_and_the_rest_is_the_log() -> None:
    child = start("say(event='a', text='é 患者')\nprint('[1, 2]')\nprint('plain')\nsay(event='b')\n"
                  "print('trouble', file=sys.stderr)\nsys.exit(3)")
    assert ended(child) == 3
    assert child.events() == [{"event": "a", "text": "é 患者"}, {"event": "b"}]
    assert child.events() == []
    assert sorted(child.log.splitlines()) == ["[1, 2]", "plain", "trouble"]


def test_events_are_there_before_the_end_is_seen() -> None:
    """A thousand events in one breath: whoever sees the exit code has them all."""
    child = start("for n in range(1000): say(event='n', n=n, text='x' * 500)")
    assert ended(child) == 0
    assert [event["n"] for event in child.events()] == list(range(1000))


def test_events_arrive_while_it_runs_and_polling_never_waits() -> None:
    """For the child, that is: a minute, of which polling takes none, however busy the machine."""
    child = start("say(event='started')\ntime.sleep(60)")
    arrived = []
    wait_until(lambda: arrived.extend(child.events()) or arrived)
    begin = time.monotonic()
    assert child.poll() is None and child.events() == [] and child.log == ""
    assert time.monotonic() - begin < 20
    child.cancel()


def test_bytes_that_are_no_text_do_not_stop_the_reader() -> None:
    child = start("sys.stdout.buffer.write(b'\\xff\\xfe\\n{\"event\": \"late\"}\\n')\nsys.stdout.flush()")
    ended(child)
    assert child.events() == [{"event": "late"}] and child.log


def test_a_talkative_child_keeps_only_its_last_words() -> None:
    child = start("for n in range(5000): print(n, file=sys.stderr)")
    ended(child)
    assert child.log.splitlines() == [str(n) for n in range(5000 - LOG_LINES, 5000)]


@needs_signals
@pytest.mark.parametrize("stubborn", [False, True])
def test_cancel_ends_the_whole_tree_within_two_seconds(stubborn: bool) -> None:
    """A launcher, its child and its grandchild; the stubborn ones do not listen to an interruption."""
    ignore = "signal.signal(signal.SIGINT, signal.SIG_IGN); " if stubborn else ""
    # One write: print makes two where PYTHONUNBUFFERED is set, and then the lines of two writers may mix.
    say = "os.write(1, json.dumps(dict(event='pid', pid=os.getpid())).encode() + b'\\n')"
    inner = f"import json, os, signal, time; {ignore}{say}"
    child = start(f"import signal, subprocess; {ignore}\nsay(event='pid', pid=0)\n"
                  f"subprocess.Popen([sys.executable, '-c', {inner + '; time.sleep(60)'!r}])\n"
                  f"subprocess.run([sys.executable, '-c', {inner + '; time.sleep(60)'!r}])")
    pids: list[int] = []
    wait_until(lambda: pids.extend(event["pid"] for event in child.events()) or len(pids) == 3)
    begin = time.monotonic()
    child.cancel()
    assert time.monotonic() - begin < 2
    assert child.poll() is not None
    wait_until(lambda: not any(map(is_running, [child.pid, *pids[1:]])), 1)
    child.cancel()  # once more does no harm


@needs_signals
def test_a_child_of_a_background_job_may_clean_up(tmp_path: Path) -> None:
    """A shell starts such a job with interruptions ignored, and its children inherit that."""
    half = tmp_path / "half file"
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = start("from pathlib import Path\nfrom SAMoraLib.system.parent import end_with_parent\n"
                      f"end_with_parent()\npath = Path({str(half)!r})\ntry:\n  path.write_text('x')\n"
                      "  say(event='written')\n  time.sleep(60)\nfinally:\n  path.unlink()")
        wait_until(child.events)
        child.cancel()
    finally:
        signal.signal(signal.SIGINT, handler)
    assert not half.exists()


@needs_signals
def test_an_interrupted_child_may_clean_up(tmp_path: Path) -> None:
    half = tmp_path / "half file"
    child = start(f"from pathlib import Path\npath = Path({str(half)!r})\ntry:\n  path.write_text('x')\n"
                  "  say(event='written')\n  time.sleep(60)\nfinally:\n  path.unlink()")
    wait_until(half.exists)
    wait_until(child.events)
    child.cancel()
    assert not half.exists()


@needs_signals
def test_a_killed_child_is_seen_even_if_a_grandchild_holds_its_output() -> None:
    child = start("import subprocess\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
                  "say(event='begun')\ntime.sleep(60)")
    wait_until(child.events)
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: child.poll() is not None, 3)
    assert child.poll() == -signal.SIGKILL
    assert "memory" in describe_exit(child.poll())


@needs_signals
def test_a_child_does_not_outlive_its_object() -> None:
    child = start("time.sleep(60)")
    pid = child.pid
    del child
    gc.collect()
    wait_until(lambda: not is_running(pid), 2)


@needs_signals
def test_a_child_does_not_outlive_this_program() -> None:
    code = ("import sys; from SAMoraSlicer.process import ChildProcess; child = ChildProcess();"
            "child.start([sys.executable, '-c', 'import time; time.sleep(60)']); print(child.pid)")
    run = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True,
                         timeout=30, check=True)
    wait_until(lambda: not is_running(int(run.stdout)), 2)


def test_a_program_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(OSError, match=r"'no such program' cannot be started \(.*\); check that it is there") as error:
        ChildProcess().start(["no such program"])
    assert str(error.value).endswith(".")


def test_the_library_is_found_from_anywhere_and_text_is_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    code = "import SAMoraLib, SAMoraSlicer.process, sys; print(sys.stdout.encoding, sys.flags.utf8_mode)"
    child = ChildProcess()
    child.start([*python_command(), "-c", code], child_environment())
    assert ended(child) == 0 and child.log == "utf-8 1"


def test_m_samoralib_runs_even_if_a_launcher_drops_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    child = ChildProcess()
    child.start([sys.executable, "-m", "SAMoraLib", "--version"], {**os.environ, "PYTHONPATH": ""})
    assert ended(child) == 0 and child.log.startswith("samora ")


def test_the_report_holds_what_a_helper_asks_for() -> None:
    child = start("print('last words', file=sys.stderr); sys.exit(7)")
    ended(child)
    report = child.report(device="cuda:0", volume="512 x 512 x 120")
    assert "device: cuda:0" in report and "volume: 512 x 512 x 120" in report and "exit code: 7" in report
    assert "command: <path of " in report and sys.executable not in report
    assert report.endswith("log:\nlast words") and json.dumps(report)


def test_the_process_of_slicer_stays_light() -> None:
    code = ("import sys, SAMoraSlicer.process, SAMoraLib.request;"
            "print([n for n in ('torch', 'SimpleITK', 'slicer', 'qt', 'vtk') if n in sys.modules])")
    run = subprocess.run([sys.executable, "-c", code], env=child_environment(), capture_output=True, text=True,
                         timeout=60, check=True)
    assert run.stdout.strip() == "[]"


ORPHAN = """
import sys, time
from SAMoraSlicer.process import ChildProcess
child = ChildProcess()
program = "import time; from SAMoraLib.system.parent import end_with_parent; end_with_parent(); time.sleep(60)"
child.start([sys.executable, "-c", program])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_child_ends_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True,
                              env=child_environment())
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    time.sleep(0.5)
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").exists() and Path(f"/proc/{child}/stat").read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    os.kill(child, 9)
    pytest.fail("the child outlived its parent")


def test_a_child_does_all_its_volumes_inside_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.setenv(name, "1")
    assert not {"RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"} & set(child_environment())


def test_what_was_never_started_says_nothing_and_is_ended_by_nobody() -> None:
    child = ChildProcess()
    assert child.poll() is None and child.pid is None and child.events() == [] and child.log == ""
    child.cancel()
    assert "exit code: None" in child.report()


def test_the_environment_is_ours_and_the_module_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/one", str(MODULE)]))
    monkeypatch.setenv("SAMORA_TEST_MARK", "kept")
    environment = child_environment()
    assert environment["PYTHONPATH"].split(os.pathsep)[:3] == [str(LIBRARY), str(MODULE), "/one"]
    assert environment["SAMORA_TEST_MARK"] == "kept" and environment["PATH"] == os.environ["PATH"]


def test_slicers_python_goes_before_the_running_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert python_command() == [sys.executable]
    if os.name != "nt":
        (tmp_path / "PythonSlicer").write_text("", encoding="utf-8")
        (tmp_path / "PythonSlicer").chmod(0o755)
        assert python_command() == [str(tmp_path / "PythonSlicer")]


def test_a_line_that_never_ends_is_taken_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LINE_BYTES", 10)
    child = start("sys.stderr.write('x' * 25)")
    ended(child)
    assert child.log.splitlines() == ["x" * 10, "x" * 10, "x" * 5]


def test_objects_that_are_no_events_are_of_the_log() -> None:
    child = start("print('{\"kind\": 1}')\nprint('\"event\"')\nprint('{\"event\": null}')")
    ended(child)
    assert child.events() == [] and child.log.splitlines() == ['{"kind": 1}', '"event"', '{"event": null}']


def test_what_lacks_something_of_its_kind_is_of_the_log() -> None:
    child = start("say(event='progress', fraction='half', stage='reading')\nsay(event='error')\n"
                  "print('{\"event\": \"ready\", \"device\": ' + '[' * 5000)\nsay(event='error', message='It is so.')")
    ended(child)
    assert child.events() == [{"event": "error", "message": "It is so."}] and len(child.log.splitlines()) == 3


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for whatever ends in order, on any machine."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 20.0)


@needs_signals
def test_a_child_that_is_cancelled_may_still_say_something(patient: None) -> None:
    child = start("import signal\n"
                  "signal.signal(signal.SIGINT, lambda *_: (time.sleep(0.2), say(event='clean'), sys.exit(4)))\n"
                  "say(event='begun')\ntime.sleep(60)")
    wait_until(child.events)
    child.cancel()
    assert child.events() == [{"event": "clean"}] and child.poll() == 4


@needs_signals
def test_the_end_waits_for_what_a_grandchild_still_says(patient: None) -> None:
    grandchild = "import json, time; time.sleep(0.15); print(json.dumps({'event': 'late'}))"
    child = start(f"import subprocess\nsubprocess.Popen([sys.executable, '-c', {grandchild!r}])\nsys.exit(5)")
    assert ended(child) == 5 and child.events() == [{"event": "late"}]
