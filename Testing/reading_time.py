"""How long reading and checking a volume takes, against another tree of this project.

    python -m Testing.reading_time --before TREE

A 512 x 512 x 150 CT as a DICOM series and as a file of each format, packed and not, each read by both trees in turn, in
processes of their own; then how long both take until they begin with a volume. The smallest of several times counts.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import ndimage

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.folders import ROOT
from Testing.library.volume import dicom_files

SHAPE = (150, 512, 512)
TURNS = 5
FORMATS = (("NIfTI, packed", "ct.nii.gz", True), ("NIfTI", "ct.nii", False), ("NRRD, packed", "packed.nrrd", True),
           ("NRRD", "ct.nrrd", False), ("MetaImage, packed", "packed.mha", True), ("MetaImage", "ct.mha", False))
READ = """
import sys, time, warnings
from pathlib import Path
import SimpleITK
try:
    from SAMoraLib.volume.io import read_volume
except ImportError:  # before version 0.1's modules were moved
    from SAMoraLib.volume_io import read_volume
try:
    from SAMoraLib.preprocessing.input_check import check_input
    from SAMoraLib.preprocessing.settings import Preprocessing
    check = lambda volume: check_input(volume, "v", Preprocessing("CT", "hu_window", -160, 240, "body", 224), print)
except ImportError:  # before there was one
    check = lambda volume: None
warnings.simplefilter("ignore")
path = Path(sys.argv[1])
read_volume(path)
started = time.perf_counter()
check(read_volume(path))
print(time.perf_counter() - started)
"""


def make_inputs(folder: Path) -> dict[str, Path]:
    """The same CT in all forms, with a scanner's noise, so that it packs as CTs do."""
    phantom = make_phantom(7, (4.0, 4.0, 6.0)).ct
    zoom = np.divide(SHAPE, phantom.array.shape)
    hu = ndimage.zoom(phantom.array.astype(np.float32), zoom, order=1)
    hu = np.rint(hu + np.random.default_rng(0).normal(0, 8, SHAPE)).astype(np.int16)
    for number in range(SHAPE[0]):
        dicom_files.save(dicom_files.slice_file(number, hu=hu), folder / f"series/IM{number:04}.dcm")
    for _, name, packed in FORMATS:
        write_volume(Volume(hu, (0.8, 0.8, 2.0), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), folder / name,
                     compressed=packed)
    return {"DICOM series": folder / "series"} | {title: folder / name for title, name, _ in FORMATS}


def seconds(tree: Path, path: Path) -> float:
    ended = subprocess.run([sys.executable, "-c", READ, str(path)], cwd=tree, check=True, stdout=subprocess.PIPE,
                           text=True, env={**os.environ, "PYTHONPATH": str(tree)})
    return float(ended.stdout.splitlines()[-1])


def starting_seconds(tree: Path, path: Path) -> float:
    """Until the model is loaded; the volume is none."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", "SAMoraLib", "predict", str(path), "--device", "cpu", "--json"],
                          cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          env={**os.environ, "PYTHONPATH": str(tree)}) as process:
        assert process.stdout is not None and b"ready" in process.stdout.readline()
        return time.perf_counter() - started


def compare(title: str, measure: Callable[[Path, Path], float], before: Path, path: Path) -> None:
    times = np.array([[measure(before, path), measure(ROOT, path)] for _ in range(TURNS)])
    old, new = times.min(axis=0)
    print(f"{title:18} {old:.3f} s before, {new:.3f} s now, ratio {new / old:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--before", type=Path, required=True, help="another checkout of this project")
    before = parser.parse_args().before.absolute()
    with tempfile.TemporaryDirectory() as folder:
        for title, path in make_inputs(Path(folder)).items():
            compare(title, seconds, before, path)
        compare("start", starting_seconds, before, Path(folder, "none.nrrd"))


if __name__ == "__main__":
    main()
