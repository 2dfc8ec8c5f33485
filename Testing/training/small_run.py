"""A run that is small, whole and learns; in this process, or in others: python -m Testing.training.small_run JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from SAMoraLib.parts import own_keys, train_only
from Testing.closeness import assert_close
from Testing.folders import ROOT
from Testing.small import small_model
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation
from Training.settings.schedule import Schedule


class Squares(Dataset[tuple[Tensor, Tensor]]):
    """Noise around a square whose brightness says its class; depends on (epoch, index) as real slices do."""

    def __init__(self, pause: float = 0.0) -> None:
        self.pause = pause

    def __len__(self) -> int:
        return 10  # not a multiple of the batch: batches cross epochs

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor]:
        time.sleep(self.pause)
        label = torch.zeros(1, 32, 32, dtype=torch.int64)
        label[0, 4 + key[1]:20, 8:24] = 1 + key[1] % 4
        noise = np.random.default_rng(key).standard_normal(label.shape, dtype=np.float32)
        return (0.2 * label + 0.1 * torch.from_numpy(noise))[None], label


def train(folder: str | Path, variant: str = "samed", pause: float = 0.0, **changes: object) -> dict[str, Tensor]:
    """The model at the end, as a caller of ``fit`` would save it; ``changes`` are fields of ``Optimisation``."""
    fields = {"steps": 50, "batch_size": 8, "accelerator": "cpu", "devices": 1, "threads": 1, "save_every": 1,
              "clip_norm": 1.0, "schedule": Schedule("samed", 1e-3, warmup=5, total=50)}
    config = Optimisation(**(fields | changes))  # type: ignore[arg-type]
    run, fabric = Run(Path(folder), config), make_fabric(config)
    model = small_model(variant)
    train_only(model, own_keys(model, model.variant.trained))
    fit(fabric, SegmentationObjective(model, class_weights=(1, 1, 2, 1, 1)), Squares(pause), config, run)
    if fabric.is_global_zero:
        torch.save(model.state_dict(), Path(folder) / "model.pt")
    return model.state_dict()


def start(folder: Path, **arguments: object) -> subprocess.Popen[str]:
    """``train`` in a process of its own, which starts the others of its run."""
    settings = json.dumps({"folder": str(folder), **arguments})
    return subprocess.Popen([sys.executable, "-m", __name__, settings], cwd=ROOT,
                            env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True, encoding="utf-8",
                            errors="replace", stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for it; what it said is the message if it failed."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said[-2000:]


def log_of(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def losses(folder: Path) -> Tensor:
    """One per step."""
    return torch.tensor([line["loss"] for line in log_of(folder)])


def assert_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Equal but for what the order of sums changes.

    No softmax depends on its keys' bias: its gradient is rounding noise, which AdamW magnifies.
    """
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        if not key.endswith("k_proj.bias"):
            assert_close(tensor, two[key], tolerance=1e-3, what=key)


if __name__ == "__main__":
    train(**json.loads(sys.argv[1]))
