"""Known faults of the pinned packages, as pip-audit looks them up: ``make audit``.

pip-audit ends well, too, where it could look up nothing. Here that is an exit code of its own, 77: not done.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from Testing.folders import ROOT

CONSTRAINTS = ROOT / "constraints.txt"
SOUND, FAULTY, NOT_DONE = 0, 1, 77


def look_up(program: Path) -> str:
    """What pip-audit says of the pinned versions, JSON; empty where it says nothing."""
    command = [str(program), "-r", str(CONSTRAINTS), "--no-deps", "--disable-pip", "--format", "json"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False)
        return ended.stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def judge(said: str) -> tuple[int, list[str]]:
    """Exit code, and lines for people."""
    try:
        packages: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return NOT_DONE, ["pip-audit is not there or found no answer, so nothing is known; install it, or try again "
                          "with a network."]
    faulty = [package for package in packages if package.get("vulns")]
    lines = [_line(package, fault) for package in faulty for fault in package["vulns"]]
    skipped = sum("skip_reason" in package for package in packages)
    if skipped:
        lines.append(f"{skipped} of {len(packages)} packages could not be looked up; try again with a network.")
    if not lines:
        lines.append(f"Of {len(packages)} packages no fault is known.")
    return FAULTY if faulty else NOT_DONE if skipped else SOUND, lines


def _line(package: dict[str, Any], fault: dict[str, Any]) -> str:
    mended = ", ".join(fault["fix_versions"]) or "no release yet"
    return f"{package['name']} {package['version']}: {fault['id']}, mended in {mended}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("program", type=Path, help="pip-audit")
    code, lines = judge(look_up(parser.parse_args(arguments).program))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
