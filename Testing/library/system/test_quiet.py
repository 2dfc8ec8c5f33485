"""What C and Python print on standard error is dropped inside, and only there."""

from __future__ import annotations

import os
import subprocess
import sys

from Testing.folders import ROOT

IMPORT = "import os, sys; from SAMoraLib.system.quiet import quiet_libraries\n"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", IMPORT + code], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_nothing_is_printed_inside_and_everything_outside() -> None:
    ended = run("""
print("before", file=sys.stderr)
try:
    with quiet_libraries():
        os.write(2, b"within ")
        print("python", file=sys.stderr)
        raise ValueError
except ValueError:
    print("behind", file=sys.stderr)
os.write(2, b"at the end")
""")
    assert (ended.returncode, ended.stderr) == (0, "before\nbehind\nat the end")


def test_a_closed_stream_is_no_error() -> None:
    ended = run("os.close(2)\nwith quiet_libraries(): print('done')")
    assert (ended.returncode, ended.stdout.strip()) == (0, "done")
