"""Write phantom CTs with labels as a data set: imagesTr and labelsTr, for Training.prepare.

    python -m Training.make_phantoms --output runs/phantoms --first-seed 20000 --count 68
    python -m Training.make_phantoms --output runs/any --contrast any     # as CT, as MR and as nothing that is scanned
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SAMoraLib.demo.painting import paint_any
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume.io import write_volume
from Training.data.workers import do_all
from Training.settings.program import program

CONTRASTS = ("ct", "any")


def make_phantoms(folder: Path, seeds: range, workers: int, contrast: str = "ct") -> None:
    """One image and one label file per seed; those that are there already are kept.

    Args:
        contrast: "ct" for HU, "any" for what any scanner may give, drawn anew for each.
    """
    jobs = [(folder, seed, contrast) for seed in seeds]
    do_all(_write_phantom, jobs, workers, "phantoms")


def _write_phantom(job: tuple[Path, int, str]) -> None:
    folder, seed, contrast = job
    name = f"phantom_{seed}.nii.gz"
    image, label = folder / "imagesTr" / name, folder / "labelsTr" / name
    if image.exists() and label.exists():
        return
    rng = np.random.default_rng(seed)
    in_plane = float(rng.uniform(1.6, 2.4))
    # A few patients have no gallbladder: a model must be able to say "not found".
    phantom = make_phantom(seed, (in_plane, in_plane, float(rng.uniform(4, 6))), all_organs=False)
    write_volume(phantom.labels, label)
    painted = phantom.ct if contrast == "ct" else phantom.ct.with_array(
        paint_any(phantom.structures, phantom.ct.spacing, rng))
    write_volume(painted, image)


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.make_phantoms",
                                     description="Write phantom CTs with labels as a data set.")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--first-seed", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=68, help="(default: %(default)s)")
    parser.add_argument("--contrast", choices=CONTRASTS, default="ct", help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    make_phantoms(options.output, range(options.first_seed, options.first_seed + options.count), options.workers,
                  options.contrast)


if __name__ == "__main__":
    main()
