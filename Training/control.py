"""The positive control of the fusion: does it use experts that are known to know something?

    python -m Training.control             # in small: minutes on two cores
    python -m Training.control --full      # every fusion and five seeds: hours

Three experts are taught with labels, each other organs of many patients, on a base that was told nothing of any of
them; frozen, they are fused with 10 % of the slices of a few others. The decoder alone has the same base, slices and
steps. Give the same command again after an interruption.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from Training import prepare
from Training.grid import check, report, slots, write_table
from Training.grids.plan import Grid, plan, read_grid
from Training.grids.runs import execute
from Training.make_phantoms import make_phantoms
from Training.reports.rows import Row, difference, read_rows
from Training.settings.program import program

GRIDS = Path(__file__).parent / "configs" / "grids"
EXPERTS, FEW = "experts", "few"  # folders of the grid's: what the experts see, and what they are fused and tested on
FIRST_SEEDS = {EXPERTS: 40_000, FEW: 41_000}  # no other training's
SMALL = {EXPERTS: (40, ("1", "0", "0")), FEW: (14, ("0.43", "0", "0.57"))}  # phantoms; train, validation, test
FULL = {EXPERTS: (160, ("1", "0", "0")), FEW: (26, ("0.31", "0", "0.69"))}
CONVENTION = "strict"


@program()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m Training.control", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--full", action="store_true", help="every fusion, five seeds, slices of 128 pixels")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(arguments)
    grid = read_grid(GRIDS / ("control.yaml" if options.full else "control_small.yaml"))
    runs, places = plan(grid), slots(options.jobs, "")
    for run in runs:
        check(run)
    for name, (count, shares) in (FULL if options.full else SMALL).items():
        make_data(grid.output / name, FIRST_SEEDS[name], count, shares)
    progress = execute(runs, grid.output, places)
    print(write_table(grid, runs))
    report(progress)
    if options.json and not progress.failed:
        tested = [str(run.folder) for run in runs if run.step in grid.rows]
        print(json.dumps(gains(grid, read_rows(tested))))
    return 1 if progress.failed else 0


def make_data(folder: Path, first_seed: int, count: int, shares: Sequence[str]) -> None:
    """Phantom CTs with labels, and their manifest; what is there is kept."""
    make_phantoms(folder / "phantoms", range(first_seed, first_seed + count), workers=2)
    if not (folder / prepare.MANIFEST_NAME).exists():
        prepare.main(["--input", str(folder / "phantoms"), "--output", str(folder), "--labels", "synapse",
                      "--modality", "CT", "--fractions", *shares])


def gains(grid: Grid, rows: Sequence[Row]) -> Mapping[str, Mapping[str, Any]]:
    """Each row's mean Dice and, but for the baseline, what it has over it: paired by case, seeds averaged first."""
    baseline = next(row for row in rows if row.name == grid.baseline)
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        found[row.name] = {"dice": float(np.mean(row.seed_means(CONVENTION, "dice"))), "seeds": len(row.seeds)}
        if row is not baseline:
            gain = difference(row, baseline, CONVENTION)
            found[row.name] |= {"gain": gain.mean, "low": gain.low, "high": gain.high, "p": gain.p,
                                "cases": gain.cases}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
