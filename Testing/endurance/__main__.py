"""What has to hold on long days and on bad ones, measured: ``make endurance ARGS="--only volumes,batch --json"``.

Each trial prints what it measured and whether it holds; the whole takes about half an hour on two cores (Linux).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from Testing.endurance.batch import killed_batch
from Testing.endurance.training import full_disks, killed_training
from Testing.endurance.trial import Trial
from Testing.endurance.volumes import long_volume, many_volumes

TRIALS: dict[str, Callable[[Path], Trial]] = {
    "volumes": partial(many_volumes, count=300),
    "long": partial(long_volume, slices=1500, size=512),
    "batch": partial(killed_batch, count=300, corrupt=10, kills=8),
    "training": partial(killed_training, kills=20, while_written=5),
    "disks": partial(full_disks, count=6),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(TRIALS), help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(argv)
    chosen = options.only.split(",")
    if unknown := set(chosen) - TRIALS.keys():
        parser.error(f"there is no trial '{min(unknown)}'; choose from {', '.join(TRIALS)}")
    outcomes: dict[str, Trial] = {}
    for name in chosen:
        with tempfile.TemporaryDirectory() as folder:
            outcomes[name] = TRIALS[name](Path(folder))
        print(f"{name:10}{'holds ' if outcomes[name].holds else 'FAILS '} {outcomes[name].measured}", flush=True)
    if options.json:
        print(json.dumps({name: {"holds": trial.holds, **trial.measured} for name, trial in outcomes.items()}))
    return 0 if all(trial.holds for trial in outcomes.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
