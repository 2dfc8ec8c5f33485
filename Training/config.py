"""What a training run is told: frozen dataclasses with a sentence per field, filled from YAML by jsonargparse.

Everything is checked here, before anything heavy starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import jsonargparse

from SAMoraLib.card import Preprocessing
from SAMoraLib.variants import Fusion
from Training.data.augment import AugmentPolicy
from Training.schedule import Schedule

# SAMed's protocol: clip to [-125, 275] HU and stretch the whole slice.
SAMED_CT = Preprocessing("CT", "hu_window", -125.0, 275.0, "none", 224)


@dataclass(frozen=True)
class Optimisation:
    """How the weights are changed, in every stage.

    Attributes:
        steps: optimiser steps of the whole run.
        batch_size: slices per step over all processes together.
        schedule: the learning rate as a function of the step.
        optimiser: "adamw", or "muon" for the matrices of linear layers (AdamW for the rest), faster from scratch.
        weight_decay: decoupled weight decay.
        betas: AdamW's momentum terms.
        clip_norm: the gradient's norm is cut to this; 0 leaves it.
        seed: of the weights' start, the order of the slices and the augmentation.
        precision: lightning-fabric's name, e.g. "32-true" or "bf16-mixed".
        devices: how many devices; "auto" takes all of the accelerator.
        accelerator: "cpu", "cuda", "mps" or "auto".
        threads: CPU threads per process; 0 leaves torch's choice.
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
    accelerator: str = "auto"
    threads: int = 0
    save_every: int = 200
    validate_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"optimisation.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.optimiser not in ("adamw", "muon"):
            raise ValueError(f"Unknown optimiser '{self.optimiser}'; choose from adamw, muon.")


@dataclass(frozen=True)
class PretrainBase:
    """Training/pretrain_base.py: a whole small SAM, where no file of Meta's exists.

    Attributes:
        output: folder of the run.
        encoder: size of the encoder, see SAMoraLib.variants.ENCODER_SIZES.
        image_size: side of the slices, pixels.
        phantoms: how many phantom abdomens are made.
        workers: processes that make them.
        first_seed: seed of the first phantom; the demo's and the tests' seeds lie below it.
        ct: probability that a slice looks like a CT; the others get a random contrast.
        window: HU that become 0 and 1 in those.
        neighbours: shows the adjacent slices in the first and third channel, if not 0; as on the checkpoint's card.
        cache: folder for the phantoms, made once.
        optimisation: steps, batch, learning rate, seed, devices.
        augment: what is done to each painted slice.
    """

    output: Path
    encoder: str = "tiny"
    image_size: int = 160
    phantoms: int = 200
    workers: int = 2
    first_seed: int = 10_000
    ct: float = 0.0
    window: tuple[float, float] = (-125.0, 275.0)
    neighbours: float = 0.0
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)


@dataclass(frozen=True)
class Stage1Expert:
    """Training/stage1_expert.py: one LoRA expert on unlabelled slices.

    Attributes:
        output: folder of the run.
        manifest: cases as Training.prepare wrote them; their label files are not read.
        base: base weights, Meta's .pth or our .safetensors.
        level: "image" (contrastive), "patch" (masked autoencoding) or "pixel" (denoising).
        encoder: size of the encoder, as in the base file.
        rank: of the low-rank pairs.
        preprocessing: how a volume becomes slices; written on the checkpoint's card.
        splits: which of the manifest's splits are used; test cases are refused.
        cache: folder for the resampled slices.
        optimisation: steps, batch, learning rate, seed, devices.
        augment: what is done to each view.
    """

    output: Path
    manifest: Path
    base: Path
    level: str
    encoder: str = "vit_b"
    rank: int = 4
    preprocessing: Preprocessing = SAMED_CT
    splits: tuple[str, ...] = ("train",)
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)

    def __post_init__(self) -> None:
        if "test" in self.splits:
            raise ValueError("The test cases must not be seen in training, not even without labels; "
                             "leave 'test' out of splits.")


@dataclass(frozen=True)
class Stage2:
    """Training/stage2_finetune.py: fine-tune a variant on labelled slices.

    Attributes:
        output: folder of the run; model.safetensors is written there.
        manifest: cases as Training.prepare wrote them.
        base: base weights, Meta's .pth or our .safetensors.
        variant: a row of SAMoraLib.variants.VARIANTS.
        encoder: size of the encoder, as in the base file.
        rank: of the low-rank pairs.
        experts: the three expert files (samora); empty for variants without experts.
        fusion: how the experts become one, where the variant has a fusion.
        trained: parts to train instead of the variant's own, a control, e.g. [transformer, decoder]; empty keeps them.
        preprocessing: how a volume becomes slices; written on the checkpoint's card.
        fraction: share of the training slices that are used, chosen by slices with ``few_shot_seed``.
        few_shot_seed: seed of that choice.
        loss_resolution: "low" compares at the decoder's resolution (SAMed), "full" at the slice's.
        ce_weight: weight of the cross-entropy (eq. 9).
        dice_weight: weight of the Dice loss (eq. 9).
        cache: folder for the resampled slices.
        optimisation: steps, batch, learning rate, seed, devices.
        augment: what is done to each slice.
        name: name on the checkpoint's card.
        licence: licence on the checkpoint's card.
        description: a sentence on the checkpoint's card.
    """

    output: Path
    manifest: Path
    base: Path
    variant: str
    encoder: str = "vit_b"
    rank: int = 4
    experts: tuple[Path, ...] = ()
    fusion: Fusion = field(default_factory=Fusion)
    trained: tuple[str, ...] = ()
    preprocessing: Preprocessing = SAMED_CT
    fraction: float = 1.0
    few_shot_seed: int = 0
    loss_resolution: str = "low"
    ce_weight: float = 0.2
    dice_weight: float = 0.8
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)
    name: str = ""
    licence: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be above 0 and at most 1.")
        if self.loss_resolution not in ("low", "full"):
            raise ValueError(f"Unknown loss_resolution '{self.loss_resolution}'; choose from low, full.")


@dataclass(frozen=True)
class ReferenceUNet:
    """Training/reference_unet.py: MONAI's U-Net on the data of a stage-2 run.

    Attributes:
        output: folder of the run.
        manifest: cases as Training.prepare wrote them.
        preprocessing: as in the stage-2 runs that it is compared with.
        channels: width of each level.
        fraction: share of the training slices that are used, chosen by slices with ``few_shot_seed``.
        few_shot_seed: seed of that choice.
        cache: folder for the resampled slices.
        optimisation: steps, batch, learning rate, seed, devices.
        augment: what is done to each slice.
    """

    output: Path
    manifest: Path
    preprocessing: Preprocessing = SAMED_CT
    channels: tuple[int, ...] = (16, 32, 64, 128, 256)
    fraction: float = 1.0
    few_shot_seed: int = 0
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)


Config = TypeVar("Config")


def from_command_line(config: Callable[..., Config], arguments: Sequence[str] | None = None) -> Config:
    """A configuration from ``--config FILE.yaml`` and single fields, e.g. ``--optimisation.steps 10``.

    A mistake ends the program with exit code 2 and the field's name.
    """
    parser = jsonargparse.ArgumentParser(description=(config.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of the fields below")
    parser.add_class_arguments(config, as_group=False)
    parsed = parser.parse_args(arguments)
    try:
        values = parser.instantiate(parsed).as_dict()
        values.pop("config", None)
        return config(**values)
    except ValueError as error:
        parser.error(str(error))
