"""``samora predict`` over many volumes and over a very long one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from SAMoraLib.checkpoint import save_model
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.endurance.trial import Trial, handles, resident_mb
from Testing.folders import ROOT
from Testing.small import small_card, small_model

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
WARM = 50  # volumes after which everything that is kept is there
LAST = 10  # looks, of which the last may come when the work has ended
GROWTH = 1.1
LONG_MB_PER_GB = 4.0 * 1024  # resident, for each GB of 32-bit voxels


def write_ct(path: Path, slices: int = 3, seed: int = 0, rows: int = 30, columns: int = 40) -> Path:
    """A small volume with something like a body in it."""
    array = np.full((slices, rows, columns), -1000, np.int16)
    body = (slices, rows * 2 // 3, columns * 3 // 4)
    array[:, rows // 6:rows // 6 + body[1], columns // 8:columns // 8 + body[2]] = (
        np.random.default_rng(seed).integers(-100, 200, body, dtype=np.int16))
    write_volume(Volume(array, (2.0, 3.0, 5.0), (-12.5, 40.0, 7.0), STRAIGHT), path)
    return path


def write_model(folder: Path) -> Path:
    """A model that computes next to nothing."""
    model, path = small_model("samed"), folder / "small.safetensors"
    save_model(path, model, small_card(model.variant))
    return path


def many_volumes(folder: Path, count: int) -> Trial:
    """Memory and handles of one run at its first ``WARM`` results and at the last."""
    inputs = [write_ct(folder / f"case{number:04}{ENDINGS[number % 4]}", seed=number) for number in range(count)]
    command = [sys.executable, "-m", "SAMoraLib", "predict", *map(str, inputs), "--model", str(write_model(folder)),
               "--output", str(folder / "out"), "--device", "cpu", "--json"]
    seen: list[tuple[float, int]] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        for _ in _written(child):
            seen.append((resident_mb(child.pid), handles(child.pid)))
    there = len(list((folder / "out").glob("*.seg.nrrd")))
    warm, last = max(seen[:WARM][-LAST:]), max(seen[-LAST:])
    return Trial(there == count and child.returncode == 0 and last[0] <= GROWTH * warm[0] and last[1] <= warm[1],
                 {"volumes": there, "warm_mb": round(warm[0]), "last_mb": round(last[0]), "warm_handles": warm[1],
                  "last_handles": last[1]})


def _written(child: subprocess.Popen[str]) -> Iterator[str]:
    assert child.stdout is not None
    return (line for line in child.stdout if '"event": "result"' in line or '"event":"result"' in line)


def long_volume(folder: Path, slices: int, size: int) -> Trial:
    """Memory that a volume of ``slices`` x ``size`` x ``size`` takes at most, with the model in the package."""
    path = write_ct(folder / "long.nii", slices, rows=size, columns=size)
    command = [sys.executable, "-m", "SAMoraLib", "predict", str(path), "--output", str(folder / "long.seg.nrrd"),
               "--device", "cpu", "--assume-hu", "--json"]
    peak = 0.0
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for _ in child.stdout:
            peak = max(peak, resident_mb(child.pid, peak=True))
    voxels_gb = slices * size * size * 4 / 1e9
    return Trial(child.returncode == 0 and peak <= LONG_MB_PER_GB * voxels_gb,
                 {"peak_mb": round(peak), "voxels_gb": round(voxels_gb, 2)})
