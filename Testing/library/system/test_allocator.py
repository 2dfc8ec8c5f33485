"""Freed memory stays with the process, where the allocator can be told so."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import SAMoraLib.system.allocator
from SAMoraLib.system.allocator import keep_freed_memory
from Testing.folders import ROOT

FAULTS = """
import ctypes, resource, sys
from SAMoraLib.system.allocator import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "kept" else False
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, malloc.argtypes, free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def use():
    array = malloc(64 << 20)
    ctypes.memset(array, 1, 64 << 20)
    free(array)
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> tuple[str, int]:
    root = ROOT
    run = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True,
                         env=os.environ | {"PYTHONPATH": str(root)})
    kept, faults = run.stdout.split()
    return kept, int(faults)


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")
def test_pages_are_not_asked_for_again() -> None:
    kept, faults = _faults("kept")
    if kept == "False":
        pytest.skip("this system's allocator is not glibc's")
    assert faults < 100 < _faults("as it is")[1]  # 64 MB are 16,384 pages, or 32 huge ones


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMoraLib.system.allocator.sys, "platform", "win32")
    monkeypatch.setattr(SAMoraLib.system.allocator.ctypes, "CDLL", None)
    assert not keep_freed_memory()
