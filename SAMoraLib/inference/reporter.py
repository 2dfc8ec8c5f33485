"""Progress and results: JSON lines for programs, or a bar and tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from SAMoraLib.inference.organ_table import OrganRow
from SAMoraLib.system.streams import one_line


class Reporter:
    """Tells of progress and results: JSON lines on standard output, or a bar and tables for people."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.bar: tqdm | None = None

    def event(self, name: str, **values: Any) -> None:
        """One JSON line; nothing for people."""
        if self.as_json:
            print(json.dumps({"event": name, **values}), flush=True)

    def progress(self, volume: str, fraction: float, stage: str) -> None:
        """How far one volume is, 0 to 1."""
        self.event("progress", volume=volume, fraction=round(fraction, 4), stage=stage)
        if self.as_json or not sys.stderr.isatty():
            return
        if self.bar is None:
            self.bar = tqdm(total=100, desc=one_line(volume), unit="%", leave=False, file=sys.stderr)
        self.bar.update(round(100 * fraction) - self.bar.n)

    def result(self, volume: str, output: Path, rows: Sequence[OrganRow], seconds: float) -> None:
        """A volume is done and written."""
        self._close()
        organs = [asdict(row) | {"found": row.found} for row in rows]
        self.event("result", volume=volume, output=str(output), seconds=round(seconds, 2), organs=organs)
        if not self.as_json:
            print(f"{one_line(f'{volume} -> {output}')} ({seconds:.1f} s)\n{format_table(rows)}", flush=True)

    def notice(self, message: str) -> None:
        """Something that whoever waits should know; the work goes on."""
        self._tell("notice", message=message)

    def failure(self, volume: str, message: str) -> None:
        """A volume was refused; the others go on."""
        self._tell("error", volume=volume, message=message)

    def _tell(self, name: str, **values: Any) -> None:
        self._close()
        self.event(name, **values)
        print(f"samora: {one_line(values['message'])}", file=sys.stderr, flush=True)

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def format_table(rows: Sequence[OrganRow]) -> str:
    """Organ, volume, mean intensity and confidence in columns."""
    lines = [f"  {'organ':16}{'volume (ml)':>12}{'mean':>10}{'confidence':>12}"]
    for row in rows:
        mean = f"{row.mean_intensity:10.1f}" if row.mean_intensity is not None else f"{'':10}"
        found = f"{row.volume_ml:12.1f}{mean}" if row.found else f"{'not found':>12}"
        sure = f"{row.confidence:12.2f}" if row.confidence is not None else ""
        lines.append(f"  {one_line(row.title):16}{found}{sure}")
    return "\n".join(lines)
