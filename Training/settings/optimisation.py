"""How weights are changed: what all stages are told alike."""

from __future__ import annotations

from dataclasses import dataclass, field

from Training.settings.schedule import Schedule

OPTIMISERS = ("adamw", "muon", "lars")
MOST_PROCESSES = 256  # of each kind on a computer; a configuration that asks for more would bring it to a standstill


@dataclass(frozen=True)
class Optimisation:
    """How the weights are changed, in every stage.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: slices per step over all processes together.
        schedule: the learning rate as a function of the step.
        optimiser: "adamw", or "muon" for the matrices of linear layers (AdamW for the rest), faster from scratch, or
            "lars" (SimCLR's large batches).
        weight_decay: decoupled weight decay; of LARS part of the gradient.
        betas: AdamW's momentum terms; LARS takes the first.
        clip_norm: the gradient's norm is cut to this; 0 leaves it.
        seed: of the weights' start, the order of the slices and the augmentation.
        precision: lightning-fabric's name, e.g. "32-true" or "bf16-mixed".
        devices: how many devices; "auto" takes all of the accelerator.
        nodes: computers that take part, each with ``devices``; the launcher starts a process per device.
        accelerator: "cpu", "cuda", "mps" or "auto".
        strategy: "auto", or "fsdp" to spread the model over the devices where one cannot hold it (ViT-H).
        threads: CPU threads per process; 0 leaves torch's choice.
        accumulate: parts in which each process computes its share of a batch; more need less memory. Each part has a
            Dice of its own, as wherever gradients are accumulated.
        recompute: computes the encoder's activations again in the backward pass instead of keeping them: less memory,
            the same gradients.
        workers: processes per device that prepare slices ahead; 0 prepares them in between.
        save_every: steps between two saved states, from which a killed run goes on.
        validate_every: steps between two validations; 0 never validates.
    """

    steps: int = 1000
    batch_size: int = 16
    schedule: Schedule = field(default_factory=Schedule)
    optimiser: str = "adamw"
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    seed: int = 1234
    precision: str = "32-true"
    devices: int | str = "auto"
    nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "auto"
    threads: int = 0
    accumulate: int = 1
    recompute: bool = False
    workers: int = 0
    save_every: int = 200
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "nodes", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"optimisation.{name} is {getattr(self, name)}; it must be at least 1.")
        for name in ("workers", "threads", "devices"):
            if str(number := getattr(self, name)).isdecimal() and int(number) > MOST_PROCESSES:
                raise ValueError(f"optimisation.{name} is {number}; it must be at most {MOST_PROCESSES}.")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"Unknown optimiser '{self.optimiser}'; choose from {', '.join(OPTIMISERS)}.")
        if self.strategy not in ("auto", "fsdp"):
            raise ValueError(f"Unknown strategy '{self.strategy}'; choose from auto, fsdp.")
        if self.strategy == "fsdp" and self.validate_every:
            raise ValueError("A validation needs the whole model on one device; set optimisation.validate_every to 0, "
                             "or strategy to auto.")
