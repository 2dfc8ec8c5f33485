"""How the programs that the module starts end: as documented, whatever ends them, and never by an abort."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.request import Job, Options, Request
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from SAMoraSlicer import devices, download, process
from SAMoraSlicer.process import ChildProcess, child_environment
from Testing.slicer.model_server import serving

DONE, REFUSED, INTERRUPTED = 0, 1, 130
CHECKPOINT = Path(devices.__file__).parents[2] / "SAMoraLib/demo/demo.safetensors"
STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
SLOW_TORCH = "import time\nprint('{\"event\": \"importing\"}', flush=True)\ntime.sleep(60)"
Ending = Callable[[ChildProcess], None]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer than a moment to end what ends by itself."""
    monkeypatch.setattr(process, "GRACE_SECONDS", 20.0)


def start(command: list[str], **environment: str) -> ChildProcess:
    child = ChildProcess()
    child.start([sys.executable, *command], child_environment() | environment)
    return child


def wait_for(child: ChildProcess, event: str) -> None:
    """Until the program says so."""
    end = time.monotonic() + 60
    while event not in [said["event"] + said.get("stage", "") for said in child.events()]:
        assert time.monotonic() < end and child.poll() is None, child.log
        time.sleep(0.005)


def exit_code(child: ChildProcess) -> int:
    end = time.monotonic() + 60
    while (code := child.poll()) is None:
        assert time.monotonic() < end, "it does not end"
        time.sleep(0.01)
    assert "Fatal Python error" not in child.log and "Traceback" not in child.log, child.log
    return code


def lose_the_parent(child: ChildProcess) -> None:
    """As when the system ends Slicer: nobody holds the other end any more."""
    child._process.stdin.close()


endings = pytest.mark.parametrize("end", [ChildProcess.cancel, lose_the_parent], ids=["cancelled", "parent gone"])


def prediction(folder: Path, slices: int, name: str = "ct.nrrd") -> list[str]:
    array = np.full((slices, 40, 40), -1000, np.int16)
    array[:, 5:35, 5:35] = np.random.default_rng(0).integers(-100, 200, (slices, 30, 30))
    write_volume(Volume(array, (4.0, 4.0, 5.0), (0.0, 0.0, 0.0), STRAIGHT), folder / "ct.nrrd")
    jobs = (Job(folder / name, folder / "labels.nrrd"),)
    Request(jobs, CHECKPOINT, options=Options(device="cpu", batch_size=1)).write(folder / "request.json")
    return ["-m", "SAMoraLib", "predict", "--request", str(folder / "request.json"), "--json"]


def test_a_prediction_that_is_done(tmp_path: Path) -> None:
    assert exit_code(start(prediction(tmp_path, 3))) == DONE
    assert (tmp_path / "labels.nrrd").is_file()


def test_a_prediction_that_is_refused(tmp_path: Path) -> None:
    assert exit_code(start(prediction(tmp_path, 3, "missing.nrrd"))) == REFUSED


@endings
def test_a_prediction_that_is_ended(tmp_path: Path, end: Ending) -> None:
    child = start(prediction(tmp_path, 600))
    wait_for(child, "progresssegmenting")
    end(child)
    assert exit_code(child) == INTERRUPTED
    assert not list(tmp_path.glob("*labels*")), "no half file is left"


def test_devices_that_are_listed() -> None:
    assert exit_code(start([devices.__file__])) == DONE


def with_torch(folder: Path, content: str) -> dict[str, str]:
    (folder / "torch").mkdir()
    (folder / "torch/__init__.py").write_text(content, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(folder), child_environment()["PYTHONPATH"]])}


def test_a_torch_that_does_not_start(tmp_path: Path) -> None:
    assert exit_code(start([devices.__file__], **with_torch(tmp_path, "raise OSError('broken')"))) == REFUSED


@endings
def test_devices_that_are_not_waited_for(tmp_path: Path, end: Ending) -> None:
    child = start([devices.__file__], **with_torch(tmp_path, SLOW_TORCH))
    wait_for(child, "importing")
    end(child)
    assert exit_code(child) == INTERRUPTED


def fetching(folder: Path, url: str, content: bytes, sha256: str = "") -> list[str]:
    return [download.__file__, "--to", str(folder / "m.safetensors"), "--size", str(len(content)),
            "--sha256", sha256 or hashlib.sha256(content).hexdigest(), url]


def test_a_download_that_arrives(tmp_path: Path) -> None:
    with serving(bytes(100_000)) as server:
        assert exit_code(start(fetching(tmp_path, server.url, server.content))) == DONE
    assert (tmp_path / "m.safetensors").read_bytes() == bytes(100_000)


def test_a_download_of_another_file(tmp_path: Path) -> None:
    with serving(bytes(100_000)) as server:
        assert exit_code(start(fetching(tmp_path, server.url, server.content, "0" * 64))) == REFUSED
    assert not list(tmp_path.iterdir())


@endings
def test_a_download_that_is_ended(tmp_path: Path, end: Ending) -> None:
    with serving(bytes(1_000_000)) as server:
        server.pause = 0.05
        child = start(fetching(tmp_path, server.url, server.content))
        wait_for(child, "progressdownloading")
        end(child)
        assert exit_code(child) == INTERRUPTED
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors.part"], "the next attempt goes on from it"
