"""One Markdown table of several runs' test results; runs that differ in the seed alone become one row.

    python -m Training.compare runs/chaos_mr/samed runs/chaos_mr/samed_10_seed*
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SEED = re.compile(r"_seed\d+$")


def compare(folders: Sequence[Path], convention: str = "strict") -> str:
    """A row per run, or per group NAME_seed1, NAME_seed2, ...: Dice by organ, mean Dice with its deviation, HD95.

    Args:
        folders: runs that hold ``test/results.json`` as ``Training.evaluate`` writes it.
        convention: how empty masks count, see ``Training.metrics``.

    Raises:
        ValueError: a run has no test results, or the runs do not share their organs.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        groups.setdefault(SEED.sub("", folder.name), []).append(_summary(folder, convention))
    organs = list(next(iter(groups.values()))[0]["organs"])
    if any(list(summary["organs"]) != organs for group in groups.values() for summary in group):
        raise ValueError("The runs were tested on different organs; compare runs of one data set.")
    lines = [f"| run | seeds | {' | '.join(organ.replace('_', ' ') for organ in organs)} | mean Dice | mean HD95 mm |",
             "|---" * (len(organs) + 4) + "|"]
    for name, group in groups.items():
        by_organ = [np.mean([summary["organs"][organ]["dice"]["mean"] for summary in group]) for organ in organs]
        means = [summary["mean"]["dice"] for summary in group]
        spread = f" ± {np.std(means, ddof=1):.3f}" if len(means) > 1 else ""
        distance = np.mean([summary["mean"]["hd95"] for summary in group])
        lines.append(f"| {name} | {len(group)} | {' | '.join(f'{dice:.3f}' for dice in by_organ)} | "
                     f"**{np.mean(means):.3f}**{spread} | {distance:.1f} |")
    return "\n".join(lines)


def _summary(folder: Path, convention: str) -> dict[str, Any]:
    path = folder / "test" / "results.json"
    if not path.is_file():
        raise ValueError(f"'{folder}' holds no test results; run Training.evaluate with --output {folder / 'test'}.")
    summary: dict[str, Any] = json.loads(path.read_text())["summary"][convention]
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.compare", description="One table of several runs.")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder with test/results.json")
    options = parser.parse_args(arguments)
    try:
        print(compare(options.runs))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
