"""``samora predict`` with ever less memory: ``python -m Testing.memory_limits``.

The address space is limited, to a step more each time, and of every limit it is said whether what happened is right: a
whole result, or a refusal whose sentence names memory; never a traceback, a false cause or a file that is left behind.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume.io import write_volume
from SAMoraLib.volume.label_file import is_label_volume
from Testing.folders import ROOT

MB = 10**6
SECONDS = 90
NEVER = 124  # the exit code of what had to be ended


@dataclass(frozen=True)
class Outcome:
    """Of one limit.

    Attributes:
        code: exit code; below 0 the signal that ended it.
        said: standard error.
        files: what lies in the output folder.
        is_whole: whether the result is there.
    """

    megabytes: int
    code: int
    said: str
    files: tuple[str, ...]
    is_whole: bool

    @property
    def is_right(self) -> bool:
        """Whether a person is served: by the result, or by the true cause."""
        if "Traceback" in self.said or len(self.files) > self.is_whole:
            return False
        return self.is_whole if self.code == 0 else self.code == 1 and "memory" in _last_line(self.said)

    def __str__(self) -> str:
        return (f"{self.megabytes:6} MB  {'right' if self.is_right else 'WRONG'}  code {self.code:3}  "
                f"{', '.join(self.files) or 'no file'}  {_last_line(self.said)}")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[-1]


def predict_within(megabytes: int, volume: Path, output: Path, options: Sequence[str] = ()) -> Outcome:
    """Run ``samora predict`` in a process that may map no more than this."""
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * MB, megabytes * MB))

    result = output / "labels.seg.nrrd"
    command = [sys.executable, "-m", "SAMoraLib", "predict", str(volume), "--output", str(result), "--device", "cpu"]
    output.mkdir(parents=True)
    try:
        ended = subprocess.run([*command, *options], cwd=ROOT, preexec_fn=limit, capture_output=True, timeout=SECONDS,
                               text=True, encoding="utf-8", errors="replace", check=False)
        code, said = ended.returncode, ended.stderr
    except subprocess.TimeoutExpired:
        code, said = NEVER, f"did not end within {SECONDS} s"
    files = tuple(sorted(path.name for path in output.iterdir()))
    return Outcome(megabytes, code, said, files, is_label_volume(result))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("volume", nargs="?", type=Path, help="default: the phantom of samora demo")
    parser.add_argument("--from", type=int, default=200, metavar="MB", dest="least", help="default: %(default)s")
    parser.add_argument("--to", type=int, default=2000, metavar="MB", dest="most", help="default: %(default)s")
    parser.add_argument("--step", type=int, default=100, metavar="MB", help="default: %(default)s")
    options = parser.parse_args(arguments)
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="samora-") as folder:
        volume = options.volume or Path(folder, "ct.nii.gz")
        if options.volume is None:
            write_volume(make_phantom(7).ct, volume)
        for megabytes in range(options.least, options.most + 1, options.step):
            outcome = predict_within(megabytes, volume.absolute(), Path(folder, str(megabytes)))
            wrong += not outcome.is_right
            print(outcome, flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
