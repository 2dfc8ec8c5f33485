"""What each stage is told: frozen dataclasses with a sentence per field; ``command_line`` fills them from YAML.

Everything is checked here, before anything heavy starts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from SAMoraLib.labels import LABEL_SETS
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.overwriting import refuse_overwriting
from SAMoraLib.variants import EXPERTS, Fusion
from Training.data.augment import AugmentPolicy
from Training.settings.deep_supervision import DeepSupervision
from Training.settings.optimisation import MOST_PROCESSES, Optimisation

SUPERVISIONS = ("scratch", "teacher", "labels")

# SAMed's protocol: clip to [-125, 275] HU and stretch the whole slice.
SAMED_CT = Preprocessing("CT", "hu_window", -125.0, 275.0, "none", 224)


def _refuse_test_cases(splits: tuple[str, ...]) -> None:
    if "test" in splits:
        raise ValueError("The test cases must not be seen in training, not even without labels; "
                         "leave 'test' out of splits.")


def _refuse_grid(preprocessing: Preprocessing) -> None:
    if preprocessing.spacing:
        raise ValueError(f"This stage sees slices, not a grid of {preprocessing.spacing} mm; set "
                         "preprocessing.spacing to 0.")


def _require_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")


@dataclass(frozen=True)
class PretrainBase:
    """Training/pretrain_base.py: a whole small SAM, where no file of Meta's exists.

    Attributes:
        output: folder of the run.
        encoder: size of the encoder, see ENCODER_SIZES and HIERA_SIZES of SAMoraLib.variants.
        image_size: side of the slices, pixels.
        phantoms: how many phantom abdomens are made.
        workers: processes that make them.
        first_seed: seed of the first phantom; the demo's and the tests' seeds lie below it.
        ct: probability that a slice looks like a CT; the others get a random contrast.
        window: HU that become 0 and 1 in those.
        neighbours: shows the adjacent slices in the first and third channel, if not 0; as on the checkpoint's card.
        untold: organs of which the base is told nothing, so that experts have something to add.
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
    untold: tuple[str, ...] = ()
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)

    def __post_init__(self) -> None:
        for organ in self.untold:
            LABEL_SETS["synapse"].by_name(organ)
        if not 0 < self.workers <= MOST_PROCESSES:
            raise ValueError(f"workers is {self.workers}; it must be 1 to {MOST_PROCESSES}.")


@dataclass(frozen=True)
class Stage1Teacher:
    """Training/stage1_teacher.py: continual pre-training (CPT) of a teacher on unlabelled slices.

    Attributes:
        output: folder of the run; teacher.safetensors is written there.
        manifest: cases as Training.prepare wrote them; their label files are not read.
        teacher: a row of Training.teachers.weights.TEACHERS, e.g. "simclr_r50_2x_sk" or "mae_vit_large".
        weights: where it goes on from: a published file, one of ours, or timm:NAME; empty starts anew.
        preprocessing: how a volume becomes slices; written on the file's card.
        splits: which of the manifest's splits are used; test cases are refused.
        temperature: of NT-Xent (SimCLR).
        mask_ratio: share of the patches that are masked (MAE).
        cache: folder for the resampled slices.
        optimisation: steps, batch, learning rate, seed, devices.
        augment: what is done to each view.
    """

    output: Path
    manifest: Path
    teacher: str
    weights: str = ""
    preprocessing: Preprocessing = SAMED_CT
    splits: tuple[str, ...] = ("train",)
    temperature: float = 0.1
    mask_ratio: float = 0.75
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)

    def __post_init__(self) -> None:
        _refuse_test_cases(self.splits)
        _refuse_grid(self.preprocessing)
        _require_share("mask_ratio", self.mask_ratio)
        refuse_overwriting(self.output / "teacher.safetensors", [self.weights])


@dataclass(frozen=True)
class Stage1Expert:
    """Training/stage1_expert.py: one LoRA expert on unlabelled slices.

    Attributes:
        output: folder of the run.
        manifest: cases as Training.prepare wrote them; their label files are not read but for "labels".
        base: base weights, Meta's .pth or our .safetensors.
        level: "image" (contrastive), "patch" (masked autoencoding) or "pixel" (denoising).
        supervision: "scratch", or "teacher" to distil from a frozen one (levels image and patch; table 5's T-S), or
            "labels": no part of the method but its positive control, an expert that is known to know something.
        organs: with "labels", those that the expert is taught; the others are background to it.
        teacher: its file: one of Training.stage1_teacher (with CPT), a published one or timm:NAME (without); empty
            takes the level's published file in weights/.
        hidden: width of the projector between student and teacher.
        mask_ratio: share of the patches that the student does not see at the patch level.
        dice_weight: share of the Dice in the pixel level's loss, the rest is the mean squared error.
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
    supervision: str = "scratch"
    organs: tuple[str, ...] = ()
    teacher: str = ""
    hidden: int = 2048
    mask_ratio: float = 0.75
    dice_weight: float = 0.0
    encoder: str = "vit_b"
    rank: int = 4
    preprocessing: Preprocessing = SAMED_CT
    splits: tuple[str, ...] = ("train",)
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)

    def __post_init__(self) -> None:
        if self.level not in EXPERTS:
            raise ValueError(f"Unknown level '{self.level}'; choose from {', '.join(EXPERTS)}.")
        _refuse_test_cases(self.splits)
        _refuse_grid(self.preprocessing)
        for name in ("mask_ratio", "dice_weight"):
            _require_share(name, getattr(self, name))
        if self.supervision not in SUPERVISIONS:
            raise ValueError(f"Unknown supervision '{self.supervision}'; choose from {', '.join(SUPERVISIONS)}.")
        if (self.supervision == "labels") != bool(self.organs):
            raise ValueError(f"supervision is {self.supervision} and organs are {', '.join(self.organs) or 'none'}; "
                             "name organs with labels, and with labels alone.")
        if self.supervision == "teacher" and self.level == "pixel":
            raise ValueError("The pixel level has no teacher (table 5); set supervision to scratch.")
        refuse_overwriting(self.output / "expert.safetensors", [self.base, self.teacher])


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
        depth: slices per slab, where the row sees slabs; 0 keeps the row's own.
        experts: the three expert files (samora); empty for variants without experts, or the one file of a LoRA imported
            from another program that they start from.
        alone: level of the one expert that samora or h_samora is given, and nothing fused (table 5); empty gives all.
        fusion: how the experts become one, where the variant has a fusion.
        trained: parts to train instead of the variant's own, a control, e.g. [transformer, decoder]; empty keeps them.
        preprocessing: how a volume becomes slices; written on the checkpoint's card.
        classes: organ, or "background" -> class of the base whose mask token it starts from; others start anew. For
            bases of Training.pretrain_base, which know tissues by name.
        fraction: share of the training slices that are used, chosen by slices with ``few_shot_seed``.
        few_shot_seed: seed of that choice.
        loss_resolution: "low" compares at the decoder's resolution (SAMed), "full" at the slice's.
        ce_weight: weight of the cross-entropy (eq. 9).
        dice_weight: weight of the Dice loss (eq. 9).
        class_weights: organ, or "background" -> its weight in the Dice's mean over the classes; 1 if not named.
        deep_supervision: how the losses of two decoders are weighted (h_sam, h_samora); each has its own resolution.
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
    depth: int = 0
    experts: tuple[Path, ...] = ()
    alone: str = ""
    fusion: Fusion = field(default_factory=Fusion)
    trained: tuple[str, ...] = ()
    preprocessing: Preprocessing = SAMED_CT
    classes: dict[str, str] = field(default_factory=dict)
    fraction: float = 1.0
    few_shot_seed: int = 0
    loss_resolution: str = "low"
    ce_weight: float = 0.2
    dice_weight: float = 0.8
    class_weights: dict[str, float] = field(default_factory=dict)
    deep_supervision: DeepSupervision = field(default_factory=DeepSupervision)
    cache: Path = Path("runs/cache")
    optimisation: Optimisation = field(default_factory=Optimisation)
    augment: AugmentPolicy = field(default_factory=AugmentPolicy)
    name: str = ""
    licence: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}; it must be above 0 and at most 1.")
        if self.depth < 0:
            raise ValueError(f"depth is {self.depth}; it must be at least 1, or 0 for the row's own.")
        if self.alone not in ("", *EXPERTS):
            raise ValueError(f"Unknown level '{self.alone}' in alone; choose from {', '.join(EXPERTS)}.")
        if self.loss_resolution not in ("low", "full"):
            raise ValueError(f"Unknown loss_resolution '{self.loss_resolution}'; choose from low, full.")
        refuse_overwriting(self.output / "model.safetensors", [self.base, *self.experts])


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

    def __post_init__(self) -> None:
        _refuse_grid(self.preprocessing)
