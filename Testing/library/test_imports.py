"""What stays light: 3D Slicer's process imports these, and must not load torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from SAMoraLib.variants import get_variant
from Testing.folders import ROOT
from Testing.small import small_card, write_bare

LIGHT = ["SAMoraLib", "SAMoraLib.labels", "SAMoraLib.variants", "SAMoraLib.card", "SAMoraLib.volume",
         "SAMoraLib.volume.io", "SAMoraLib.request"]
HEAVY = ["torch", "torchvision", "segment_anything", "safetensors", "SimpleITK", "scipy", "monai", "Training"]


def in_fresh_interpreter(code: str) -> str:
    """What ``code`` prints last."""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60,
                         check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_do_not_load_torch(module: str) -> None:
    code = f"import {module}, json, sys; print(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    assert json.loads(in_fresh_interpreter(code)) == []


def test_they_are_imported_in_little_more_than_numpy_takes() -> None:
    code = ("import time; start = time.perf_counter()\nimport numpy\nnumpy_is_there = time.perf_counter()\n"
            f"import {', '.join(LIGHT)}\n"
            "print((time.perf_counter() - numpy_is_there) / (numpy_is_there - start))")
    # The best of three: other work on the machine can only disturb.
    assert min(float(in_fresh_interpreter(code)) for _ in range(3)) < 2


def test_a_card_is_printed_without_torch(tmp_path: Path) -> None:
    path = write_bare(tmp_path / "m.safetensors", json.dumps(small_card(get_variant("samora")).to_json()))
    code = ("import runpy, sys\n"
            f"sys.argv = ['samora', 'info', {str(path)!r}]\n"
            "try: runpy.run_module('SAMoraLib', run_name='__main__')\n"
            "except SystemExit as end: assert end.code == 0, end.code\n"
            "print('torch' in sys.modules)")
    assert in_fresh_interpreter(code) == "False"
