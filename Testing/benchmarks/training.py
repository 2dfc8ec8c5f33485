"""Steps of stage 2 against straightforward ones, in one run and in turns.

    python -m Testing.benchmarks.training --encoder vit_b --image-size 224 --batch-size 2
    python -m Testing.benchmarks.training --encoder tiny --image-size 160 --batch-size 8 --precision bf16-mixed --json

Straightforward is the same network with every stream through the package's own blocks one after the other, torch's
``linear`` and AdamW as it is without a fused kernel. Both give the same gradients; the largest difference is printed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from SAMoraLib.inference.device import choose_device
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.variants import get_variant
from Testing.benchmarks.peak_memory import peak_mb
from Testing.benchmarks.report import this_machine
from Testing.benchmarks.straightforward import straightforward
from Testing.benchmarks.timing import in_turns, paired
from Training.engine.optimisers import make_optimisers
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.optimisation import Optimisation

CLASSES = 8


@dataclass(frozen=True)
class Setting:
    """What every step is timed on; ``precision`` is a name of lightning-fabric's."""

    encoder: str
    image_size: int
    batch_size: int
    precision: str
    rounds: int
    device: torch.device


@dataclass(frozen=True)
class StepRow:
    """Seconds of a step, ours and the straightforward one, and what they need beside weights and optimiser.

    Attributes:
        ratio: ours over theirs, the median over the rounds; ``recompute_ratio`` that of our step with checkpointing
            over ours without.
        peak_mb: largest amount of tensors at once, without weights and optimiser state.
        difference: of all gradients, taken as one vector, relative to its length.
    """

    name: str
    ours: float
    theirs: float
    ratio: float
    recompute_ratio: float
    peak_mb: float
    their_peak_mb: float
    recompute_peak_mb: float
    difference: float


class Step:
    """Forward, backward and optimiser on one batch."""

    def __init__(self, model: SegmentationModel, setting: Setting, optimisers: Sequence[Optimizer]) -> None:
        self.objective, self.optimisers = SegmentationObjective(model).train(), optimisers
        self.precision = torch.autocast(setting.device.type, torch.bfloat16, setting.precision == "bf16-mixed")
        generator = torch.Generator().manual_seed(0)
        shape = setting.batch_size, 1, setting.image_size, setting.image_size
        image = torch.rand(shape, generator=generator)[:, None]
        label = torch.randint(0, CLASSES + 1, shape, generator=generator)
        self.batch = [image.to(setting.device), label.to(setting.device)]

    def __call__(self) -> None:
        self.backward()
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)

    def backward(self) -> None:
        with self.precision:
            loss = self.objective(self.batch)
        loss.backward()


def measure(name: str, setting: Setting) -> StepRow:
    """A row of the table: samed or samora."""
    torch.manual_seed(0)
    variant = get_variant(name, setting.encoder)
    model: Any = build_model(variant, CLASSES, setting.image_size).to(setting.device)
    start_anywhere(model)
    train_only(model, own_keys(model, variant.trained))
    twin = copy.deepcopy(model)
    twins = list(zip(model.parameters(), twin.parameters(), strict=True))
    ours = Step(model, setting, make_optimisers(model, Optimisation()))
    trained = [parameter for parameter in twin.parameters() if parameter.requires_grad]
    theirs = Step(straightforward(twin), setting, [AdamW(trained, fused=False, foreach=False)])
    difference = gradients_apart(ours, theirs, twins)

    def recomputing() -> None:
        model.image_encoder.recompute = True
        ours()
        model.image_encoder.recompute = False

    works = ours, theirs, recomputing
    times = in_turns(works, setting.rounds, setting.device)
    pair, again = paired(times[0], times[1]), paired(times[2], times[0])
    peaks = [peak_mb(work, setting.device) for work in works]
    return StepRow(name, pair.ours, pair.theirs, pair.ratio, again.ratio, *peaks, difference)


@torch.no_grad()
def start_anywhere(model: nn.Module) -> None:
    """Pairs, tables and fusions that start at zero would hide a difference."""
    for parameter in model.parameters():
        if not parameter.any():
            parameter.normal_(std=0.02)


def gradients_apart(ours: Step, theirs: Step, twins: Sequence[tuple[nn.Parameter, nn.Parameter]]) -> float:
    """|g - g'| / |g'| of the gradients of all parameters and their twins; leaves no gradients behind."""
    for step in (ours, theirs):
        step.backward()
    apart = whole = 0.0
    for one, other in twins:
        if one.grad is not None or other.grad is not None:
            assert one.grad is not None and other.grad is not None, "both or neither are trained"
            apart += float((one.grad - other.grad).square().sum())
            whole += float(other.grad.square().sum())
            one.grad = other.grad = None
    return math.sqrt(apart / whole)


def markdown(rows: Sequence[StepRow], setting: Setting) -> str:
    """A table with a line for each row, and the setting above it."""
    lines = [f"{this_machine(setting.device)}; {setting.encoder}, {setting.image_size} pixels, batch "
             f"{setting.batch_size}, {setting.precision}.", "",
             "| step of | s | straightforward | ratio | MB | straightforward | recomputing: time | MB "
             "| gradients apart |", "|---|---|---|---|---|---|---|---|---|"]
    lines += [f"| {row.name} | {row.ours:.2f} | {row.theirs:.2f} | {row.ratio:.2f} | {row.peak_mb:.0f} "
              f"| {row.their_peak_mb:.0f} | x {row.recompute_ratio:.2f} | {row.recompute_peak_mb:.0f} "
              f"| {row.difference:.0e} |" for row in rows]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks.training",
                                     description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--variants", nargs="+", choices=("samed", "samora"), default=["samed", "samora"])
    parser.add_argument("--encoder", default="vit_b", help="(default: %(default)s)")
    parser.add_argument("--image-size", type=int, default=224, help="(default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--rounds", type=int, default=5, help="pairs whose median counts (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    setting = Setting(options.encoder, options.image_size, options.batch_size, options.precision, options.rounds,
                      choose_device(options.device))
    rows = [measure(name, setting) for name in options.variants]
    print(markdown(rows, setting))
    if options.json:
        print(json.dumps([asdict(row) for row in rows]))


if __name__ == "__main__":
    main()
