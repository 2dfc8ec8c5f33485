"""Whole volumes, from file to label file: where the time goes, memory, and time against the number of slices."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume, write_volume

if TYPE_CHECKING:  # the child imports it as samora does
    import torch

STAGES = ("start", "reading", "preprocessing", "encoder and decoder", "around them", "writing")
PHANTOM = 3, (400 / 128, 400 / 128, 4.0)  # seed, and voxel size in mm


@dataclass(frozen=True)
class VolumeRow:
    """One volume through ``samora predict`` in a process of its own.

    Attributes:
        seconds: of the whole process.
        stages: seconds by stage, see ``STAGES``; "around them" is resizing, arg max and the like.
        peak_mb: of resident memory.
    """

    name: str
    shape: tuple[int, ...]
    seconds: float
    peak_mb: float
    stages: dict[str, float] = field(default_factory=dict)

    @property
    def overhead(self) -> float:
        """Share of the time that is neither encoder nor decoder."""
        return 1 - self.stages["encoder and decoder"] / self.seconds


def phantom_of(slices: int, side: int) -> Volume:
    """A phantom's body on ``slices`` x ``side`` x ``side`` voxels."""
    coarse = make_phantom(*PHANTOM).ct
    depth, height, width = coarse.array.shape
    rows, columns = (np.arange(side) * n // side for n in (height, width))
    array = coarse.array[np.arange(slices) * depth // slices][:, rows][:, :, columns]
    spacing = (coarse.spacing[0] * width / side, coarse.spacing[1] * height / side, coarse.spacing[2] * depth / slices)
    return Volume(np.ascontiguousarray(array), spacing, coarse.origin, coarse.direction)


def measure_volume(name: str, path: Path, device: torch.device, model: Path | None = None) -> VolumeRow:
    """Segment a file in a fresh process and take its stages' times; in half precision on a GPU."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "Testing.benchmarks.volumes", str(path), str(Path(folder) / "labels.nii.gz"),
                   str(device), str(model or "")]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        said = process.communicate()[0]
        seconds = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}.")
    found = json.loads(said.splitlines()[-1])
    stages = found["stages"]
    stages["start"] = seconds - sum(stages.values())
    return VolumeRow(name, tuple(found["shape"]), seconds, found["peak_mb"], stages)


def measure_growth(counts: Sequence[int], side: int, folder: Path, device: torch.device
                   ) -> tuple[list[VolumeRow], float]:
    """Volumes of several lengths, and the exponent of seconds against slices, start-up left out."""
    rows = []
    for count in counts:
        path = folder / f"phantom_{count}.nii.gz"
        write_volume(phantom_of(count, side), path)
        rows.append(measure_volume(f"phantom, {count} slices", path, device))
    seconds = [row.seconds - row.stages["start"] for row in rows]
    exponent, _ = np.polyfit(np.log(counts), np.log(seconds), 1)
    return rows, float(exponent)


def _segment(source: Path, target: Path, device_name: str, model_file: str) -> dict[str, Any]:
    """In the child: what ``samora predict`` does, with a clock between the stages."""
    from SAMoraLib.cli import CT_ABDOMEN, start_computing

    start_computing()
    from SAMoraLib.checkpoint import load_model
    from SAMoraLib.inference import predictor as module
    from SAMoraLib.inference.device import choose_device
    from SAMoraLib.inference.predictor import Predictor
    from SAMoraLib.volume.io import write_segmentation
    from Testing.benchmarks.timing import wait

    stages = dict.fromkeys(STAGES[1:], 0.0)

    def timed(stage: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **options)
            finally:
                stages[stage] += time.perf_counter() - start
        return run

    def forward(*slabs: Any) -> Any:
        prediction = run_model(*slabs)
        wait(device)
        return prediction

    device = choose_device(device_name)
    model, card = load_model(model_file or CT_ABDOMEN)
    predict = Predictor(model, card, device)
    predict.compute_in("half" if device.type == "cuda" else "full")
    run_model, model.forward = model.forward, timed("encoder and decoder", forward)
    module.prepare_volume = timed("preprocessing", module.prepare_volume)
    volume = timed("reading", read_volume)(source)
    start = time.perf_counter()
    labels = predict.predict(volume)
    stages["around them"] = (time.perf_counter() - start - stages["encoder and decoder"] - stages["preprocessing"])
    timed("writing", write_segmentation)(labels, predict.labels, target)
    return {"shape": volume.array.shape, "stages": stages, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Largest resident memory of this process; Linux's rusage would hold its parent's, too."""
    status = Path("/proc/self/status")
    if status.exists():
        return float(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1]) / 1024  # type: ignore[index]
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    print(json.dumps(_segment(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:5])))
