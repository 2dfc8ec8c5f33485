"""The program that asks torch for its devices."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from SAMoraSlicer import devices
from SAMoraSlicer.process import child_environment


def answer(**environment: str) -> tuple[int, dict[str, object]]:
    run = subprocess.run([sys.executable, devices.__file__], env=child_environment() | environment, capture_output=True,
                         text=True, timeout=120, check=False)
    return run.returncode, json.loads(run.stdout.splitlines()[-1])


def test_the_cpu_is_always_there() -> None:
    code, event = answer(CUDA_VISIBLE_DEVICES="-1")
    assert code == 0 and event["event"] == "devices"
    assert event["devices"][-1][0] == "cpu" and event["devices"][-1][1].startswith("CPU, ")


@pytest.mark.parametrize("content", ["", "raise OSError('[WinError 126] c10.dll cannot be found')"])
def test_a_torch_that_does_not_start_is_one_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch/__init__.py").write_text(content, encoding="utf-8")
    code, event = answer(PYTHONPATH=os.pathsep.join([str(tmp_path), child_environment()["PYTHONPATH"]]))
    assert code == 1 and event["event"] == "error"
    assert event["message"].startswith("PyTorch does not start (") and event["message"].endswith("install it again.")


class Tensor:
    """Of a torch that has no code for one of its cards."""

    def __init__(self, array: Any, device: str = "cpu") -> None:
        self.array, self.device = array, device

    def to(self, device: str) -> Tensor:
        return Tensor(self.array, device)

    def __add__(self, other: Tensor) -> Tensor:
        if self.device == "cuda:0":
            raise RuntimeError("no kernel image is available for execution on the device")
        return Tensor(self.array + other.array, self.device)

    def cpu(self) -> Tensor:
        return self.to("cpu")

    def numpy(self) -> Any:
        return self.array


def test_a_card_that_torch_cannot_compute_on_is_left_out() -> None:
    """A card too old or too new for the build is counted by torch, and fails at the first sum."""
    cuda = types.SimpleNamespace(device_count=lambda: 2, get_device_name=lambda number: ["Old", "New"][number])
    mps = types.SimpleNamespace(mps=types.SimpleNamespace(is_available=lambda: False))
    torch = types.SimpleNamespace(cuda=cuda, backends=mps, from_numpy=Tensor)
    working = [(name, title) for name, title in devices._candidates(torch) if devices._works(torch, name)]
    assert working[0] == ("cuda:1", "CUDA 1: New") and [name for name, _ in working] == ["cuda:1", "cpu"]


def stub(folder: Path, **modules: str) -> None:
    """Modules of these contents; an underscore in a name leads a folder down."""
    for name, content in modules.items():
        path = folder / f"{name.replace('_', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


@pytest.mark.parametrize("library", [".", ".."], ids=["installed", "clone"])
def test_the_library_is_found_without_a_path_to_it(tmp_path: Path, library: str) -> None:
    """Where a launcher sets PYTHONPATH anew: beside the module's folder, or beside the folder that holds it."""
    module, torch = tmp_path / "SAMora", tmp_path / "torch"
    stub(module / library / "SAMoraLib", system_parent="def run_as_child(program):\n    return program()",
         inference_predictor="")
    stub(torch, torch="raise RuntimeError('asked')")
    (module / "SAMoraSlicer").mkdir(parents=True, exist_ok=True)
    program = shutil.copy(devices.__file__, module / "SAMoraSlicer")
    run = subprocess.run([sys.executable, str(program)], env=os.environ | {"PYTHONPATH": str(torch)}, text=True,
                         capture_output=True, timeout=60, check=False)
    assert run.returncode == 1 and "PyTorch does not start (asked)" in run.stdout, run.stderr


@pytest.mark.parametrize("there", [True, False])
def test_apples_graphics_stand_between_the_cards_and_the_cpu(there: bool) -> None:
    cuda = types.SimpleNamespace(device_count=lambda: 1, get_device_name=lambda number: "Card")
    torch = types.SimpleNamespace(cuda=cuda, backends=types.SimpleNamespace(
        mps=types.SimpleNamespace(is_available=lambda: there)))
    names = [name for name, _ in devices._candidates(torch)]
    assert names == (["cuda:0", "mps", "cpu"] if there else ["cuda:0", "cpu"])


@pytest.mark.parametrize("way", ["in", "back"])
def test_a_torch_that_was_built_for_another_numpy_is_one_sentence(tmp_path: Path, way: str) -> None:
    """As the last PyTorch for Macs with Intel processors beside NumPy 2: it starts, and takes no array."""
    (tmp_path / "sitecustomize.py").write_text(f"""
import torch
def refuse(*_): raise RuntimeError("Numpy is not available")
if {way == "in"}: torch.from_numpy = refuse
else: torch.Tensor.numpy = refuse
""", encoding="utf-8")
    code, event = answer(PYTHONPATH=os.pathsep.join([str(tmp_path), child_environment()["PYTHONPATH"]]))
    assert code == 1 and event["event"] == "error"
    said = str(event["message"])
    assert said.startswith("PyTorch 2.") and "does not work with NumPy" in said and "(Numpy is not available)" in said
    assert said.endswith("install numpy below 2.") and said.count(". ") == 0


@pytest.mark.parametrize("said", [None, 1, "cpu", {"cpu": "CPU"}, [["cpu"]], [["cpu", 1]], [[1, "CPU"]], [None], ["cp"],
                                  [["cpu", "CPU", "more"]], [["cuda:0; rm", "Card"]], [["--to=x", "Card"]],
                                  [["cuda:12345", "Card"]], [["cpu\n", "CPU"]], [[["cpu"], "CPU"]]])
def test_what_is_no_device_is_left_out(said: Any) -> None:
    assert devices.known_devices(said) == []


def test_devices_are_names_that_torch_knows_with_titles_of_one_short_line() -> None:
    said = [["cuda:0", "Card\n<b>" + "x" * 1000], ["mps", "Apple"], ("cpu", "CPU"), ["tpu", "other"]]
    found = devices.known_devices(said)
    assert [name for name, _ in found] == ["cuda:0", "mps", "cpu"]
    assert found[0][1].startswith("Card <b>xxx") and len(found[0][1]) == devices.LONGEST_TITLE
