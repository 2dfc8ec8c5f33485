"""How long a stage-2 step is and how much of it waits for data; and samora's step as a multiple of samed's.

    python -m Training.step_time --manifest runs/chaos_mr/manifest.json --encoder vit_b --image-size 224 --batch-size 32

Weights are random: they do not change the time. Prints Markdown; with --json one JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from SAMoraLib.inference.device import choose_device
from SAMoraLib.model import build_model
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant
from Training.data.augment import POLICIES
from Training.data.manifest import Manifest, read_manifest
from Training.data.slices import SliceDataset, build_cache
from Training.engine.loop import batch_keys
from Training.engine.optimisers import make_optimisers
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation
from Training.settings.program import program


@dataclass(frozen=True)
class Plan:
    """What is timed: ``steps`` steps of ``batch_size`` slices at ``image_size``, after one that does not count."""

    encoder: str
    image_size: int
    batch_size: int
    steps: int
    device: torch.device

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def loading_seconds(slices: SliceDataset, plan: Plan, workers: int) -> float:
    """Median seconds to prepare one batch, with ``workers`` processes (0: none) and nobody else at work."""
    optimisation = Optimisation(steps=plan.steps + 1, batch_size=plan.batch_size)
    keys = list(batch_keys(len(slices), optimisation, 0, 0, 1))
    batches = iter(DataLoader(slices, batch_sampler=keys, num_workers=workers))
    next(batches)
    if workers:  # they prepare several batches at once: only the whole counts
        started = time.perf_counter()
        count = sum(1 for _ in batches)
        return (time.perf_counter() - started) / count
    return _median(lambda: next(batches), plan.steps)


class Step:
    """One optimiser step of a variant in stage 2 on a batch that is there already."""

    def __init__(self, name: str, batch: list[Tensor], classes: int, plan: Plan) -> None:
        model = build_model(get_variant(name, plan.encoder), classes, plan.image_size).to(plan.device)
        train_only(model, own_keys(model, model.variant.trained))
        self.objective = SegmentationObjective(model).train()
        self.optimisers = make_optimisers(self.objective, Optimisation())
        self.batch = [tensor.to(plan.device) for tensor in batch]
        self.plan = plan

    def __call__(self) -> None:
        with self.plan.autocast():
            loss = self.objective(self.batch)
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.plan.wait()


def measure(manifest: Manifest, preprocessing: Preprocessing, cache: Path, plan: Plan,
            workers: Sequence[int]) -> dict[str, Any]:
    """Loading and step times.

    Returns:
        "loading" -> workers -> seconds per batch and slices per second; "steps" -> variant -> seconds; "waiting", the
        share of samed's step that loading takes: all of it in the training process, or what the workers do not hide.
    """
    slices = SliceDataset(build_cache(manifest, manifest.of("train"), preprocessing, cache),
                          policy=POLICIES["samed"])
    loading = {count: loading_seconds(slices, plan, count) for count in workers}
    picked = [slices[0, index % len(slices)] for index in range(plan.batch_size)]
    batch = [torch.stack(parts) for parts in zip(*picked, strict=True)]
    runs = {name: Step(name, batch, len(manifest.labels), plan) for name in ("samed", "samora")}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for name in runs:
        runs[name]()
    for _ in range(plan.steps):  # in turn, so that both meet the same machine
        for name in runs:
            times[name].append(_seconds(runs[name]))
    step = {name: statistics.median(values) for name, values in times.items()}
    waiting = {count: seconds / (seconds + step["samed"]) if count == 0 else max(0.0, 1 - step["samed"] / seconds)
               for count, seconds in loading.items()}
    return {"loading": {count: {"seconds": seconds, "slices_per_second": plan.batch_size / seconds}
                        for count, seconds in loading.items()},
            "steps": step, "samora_to_samed": step["samora"] / step["samed"], "waiting": waiting}


def _median(action: Callable[[], object], count: int) -> float:
    return statistics.median(_seconds(action) for _ in range(count))


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def as_markdown(found: dict[str, Any], plan: Plan) -> Iterator[str]:
    yield f"{plan.encoder}, {plan.image_size} x {plan.image_size}, batch {plan.batch_size}, bfloat16, {plan.device}"
    yield ""
    yield "| loading by | s per batch | slices per s | share of samed's step |"
    yield "|---|---|---|---|"
    for count, row in found["loading"].items():
        by = f"{count} workers" if count else "the training process"
        yield f"| {by} | {row['seconds']:.3f} | {row['slices_per_second']:.0f} | {found['waiting'][count]:.1%} |"
    yield ""
    for name, seconds in found["steps"].items():
        yield f"{name}: {seconds:.2f} s per step"
    yield f"samora / samed: {found['samora_to_samed']:.2f}"


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.step_time", description="Times of a stage-2 step.")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--encoder", default="vit_b", help="(default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=224, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=32, help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="(default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/slices"), help="(default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    options = parser.parse_args(arguments)
    try:
        manifest = read_manifest(options.manifest)
        plan = Plan(options.encoder, options.image_size, options.batch_size, options.steps,
                    choose_device(options.device))
    except (ValueError, OSError) as error:
        parser.error(str(error))
    intensity = ("hu_window", -125.0, 275.0) if manifest.modality == "CT" else ("percentile", 1.0, 99.5)
    preprocessing = Preprocessing(manifest.modality, *intensity, "none", plan.image_size)
    found = measure(manifest, preprocessing, options.cache, plan, options.workers)
    print("\n".join(as_markdown(found, plan)))
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
