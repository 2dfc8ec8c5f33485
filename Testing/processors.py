"""The numeric part of the suite as processors of other instruction sets compute it: ``make test-processors``.

Every setting caps what torch, oneDNN and MKL use of this machine's own; a tenth of every tolerance is asked, so that
what passes has a margin of ten. Settings can be named: ``make test-processors ARGS="avx2"``.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from Testing.folders import ROOT

PROCESSORS: dict[str, dict[str, str]] = {
    "sse4": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    # ATen takes its own word for granted: asked for avx512 where there is none, it would die of an illegal instruction.
    "avx512": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
    "all": {},
}
THREADS = (1, 2)
MARGIN = 10


def numeric_tests() -> list[Path]:
    """The test files that compute with torch; Slicer's own process has none."""
    found = sorted(path for folder in ("library", "training", "compatibility")
                   for path in (ROOT / "Testing" / folder).rglob("test_*.py"))
    return [path for path in found if re.search(r"^(import torch|from Testing\.(closeness|golden|small))",
                                                path.read_text(encoding="utf-8"), re.MULTILINE)]


def environment(processor: str, threads: int) -> dict[str, str]:
    """What the tests of one setting run in."""
    return {**os.environ, **PROCESSORS[processor], "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
            "SAMORA_TOLERANCE_SHARE": str(1 / MARGIN)}


def passes(processor: str, threads: int) -> bool:
    """Run the numeric tests in one setting, in as many processes as leave each thread a core, and print the outcome."""
    started = time.monotonic()
    workers = max(1, (os.cpu_count() or 1) // threads)
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), *map(str, numeric_tests())]
    ended = subprocess.run(command, cwd=ROOT, env=environment(processor, threads), text=True, capture_output=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{processor:8}{threads} threads  {'passed' if ended.returncode == 0 else 'FAILED'} in {minutes:.1f} min",
          flush=True)
    if ended.returncode:
        print(ended.stdout, ended.stderr, sep="\n", flush=True)
    return ended.returncode == 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("processors", nargs="*", metavar="SETTING", help=", ".join(PROCESSORS))
    chosen = parser.parse_args(argv).processors or list(PROCESSORS)
    if unknown := set(chosen) - PROCESSORS.keys():
        parser.error(f"unknown setting {min(unknown)}; choose from {', '.join(PROCESSORS)}")
    outcomes = [passes(processor, threads) for processor in chosen for threads in THREADS]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
