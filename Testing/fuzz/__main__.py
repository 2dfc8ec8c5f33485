"""Seeded changes of every format that is read, each fed to the product's own reader (``make fuzz``).

    make fuzz ARGS="--format nifti --count 2000 --seed 1"
    python -m Testing.fuzz --replay build/fuzz/nifti-1-17

An input is refused in one sentence, or accepted as it is; anything else is a finding: a process that dies, an answer
that does not come, memory without end, a traceback, a text of several lines, a result that cannot be. Exit code 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from Testing.folders import ROOT
from Testing.fuzz.findings import KEPT, PLURALS, Finding, fault_of, keep, kept, table
from Testing.fuzz.formats import FORMATS
from Testing.fuzz.run import Limits, Outcome, Task, outcomes

SHARE = 100  # inputs of a child, so that several work at one format
INTERRUPTED = 130


class Tally:
    """What became of all inputs; a few of each fault are kept as files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.counts: dict[str, Counter[str]] = {}
        self.findings: list[Finding] = []
        self._kept: Counter[tuple[str, ...]] = Counter()

    def add(self, outcome: Outcome) -> None:
        finding = outcome.finding
        became = PLURALS[finding.kind] if finding else "accepted" if outcome.accepted else "refused"
        self.counts.setdefault(outcome.format, Counter()).update(["inputs", became])
        if finding is None:
            return
        self.findings.append(finding)
        self._kept[finding.fault] += 1
        if self._kept[finding.fault] <= KEPT:
            keep(finding, FORMATS[finding.format].mutant(finding.seed, finding.number), self.folder)

    def report(self) -> dict[str, Any]:
        """The numbers of all formats, and of each."""
        names = ("inputs", "accepted", "refused", *PLURALS.values())
        per_format = {name: {key: counts[key] for key in names} for name, counts in sorted(self.counts.items())}
        return {key: sum(counts[key] for counts in self.counts.values()) for key in names} | {"formats": per_format}


def tasks(formats: Sequence[str], count: int, seed: int) -> list[Task]:
    """Every format's inputs in shares."""
    return [Task(FORMATS[name], seed, range(start, min(count, start + SHARE)))
            for name in formats for start in range(0, count, SHARE)]


def fuzz(options: argparse.Namespace) -> int:
    tally, started = Tally(options.keep), time.monotonic()
    planned = tasks(options.format or list(FORMATS), options.count, options.seed)
    limits = Limits(options.memory << 20, options.seconds, 12 * options.seconds)
    interrupted = False
    with tqdm(total=sum(len(task.numbers) for task in planned), unit="input", disable=options.quiet) as progress:
        try:
            for outcome in outcomes(planned, limits, options.workers):
                tally.add(outcome)
                progress.update()
                progress.set_postfix_str(f"{outcome.format}, {len(tally.findings)} findings", refresh=False)
        except KeyboardInterrupt:
            interrupted = True
    _tell(tally, options, time.monotonic() - started)
    return INTERRUPTED if interrupted else 1 if tally.findings else 0


def _tell(tally: Tally, options: argparse.Namespace, seconds: float) -> None:
    report = tally.report()
    for name, counts in report["formats"].items():
        told = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items() if count)
        print(f"{name:20} {told}")
    if tally.findings:
        print(f"\n{table(tally.findings)}\n\nSome inputs of each are in '{options.keep}'; --replay reads one again.")
    rate = report["inputs"] / max(seconds, 1e-9)
    print(f"{report['inputs']} inputs (seed {options.seed}), {len(tally.findings)} findings, {rate:.0f} inputs/s")
    if options.json:
        print(json.dumps({"seed": options.seed, "seconds": round(seconds, 1), **report}))


def replay(path: Path) -> int:
    """Read one kept input in this process, without limits of memory or time, and print what becomes of it."""
    finding, mutant = kept(path)
    kind = FORMATS[finding.format]
    print(f"{finding.format} {finding.number} of seed {finding.seed}, by {', '.join(finding.how)}: {finding.kind}, "
          f"{finding.what} {finding.place}", flush=True)
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        folder = Path(place)
        mutant.write(folder)
        try:
            result = kind.read(folder)
        except Exception as error:
            traceback.print_exc()
            return 1 if fault_of(error) else 0
        wrong = kind.wrong(mutant, folder, result)
    print(f"Accepted: {wrong or 'nothing is wrong with it'}")
    return 1 if wrong else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--format", action="append", choices=tuple(FORMATS), help="this one alone; may be repeated")
    parser.add_argument("--count", type=int, default=500, help="inputs of each format (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of computing for one input (default: %(default)s)")
    parser.add_argument("--memory", type=int, default=1024, help="MiB for one input (default: %(default)s)")
    parser.add_argument("--keep", type=Path, default=ROOT / "build" / "fuzz", help="folder of the inputs that failed")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--replay", type=Path, metavar="FINDING", help="read one kept input alone")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = parser().parse_args(argv)
    return replay(options.replay) if options.replay else fuzz(options)


if __name__ == "__main__":
    faulthandler.enable()  # says where an input that is read again ends the process
    sys.exit(main())
