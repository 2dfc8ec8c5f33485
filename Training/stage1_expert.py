"""Stage 1: one LoRA expert on unlabelled slices, by itself or distilled from a teacher (the rows of tables 5 and 15).

    python -m Training.stage1_expert --config Training/configs/chaos_mr/expert.yaml --level image --output runs/image
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from SAMoraLib.card import Card, reference_to
from SAMoraLib.checkpoint import save_expert
from SAMoraLib.labels import LabelSet
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import expert_keys, train_only
from SAMoraLib.variants import get_variant, row_on
from SAMoraLib.weights.sam import load_base
from SAMoraLib.weights.tensors import read_tensors
from Training.data.augment import View, noisy_and_clean, one_view, two_views
from Training.data.chosen_organs import ChosenOrgans
from Training.data.manifest import read_manifest
from Training.data.slices import SliceCache, SliceDataset, ViewDataset, build_cache
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.objectives.contrastive import ContrastiveObjective
from Training.objectives.denoising import DenoisingObjective
from Training.objectives.distillation import Frozen, ImageDistillation, PatchDistillation
from Training.objectives.labelled import LabelledObjective
from Training.objectives.masked import MaskedObjective
from Training.settings.command_line import command
from Training.settings.stages import Stage1Expert
from Training.teachers.mae import Mae
from Training.teachers.simclr import Simclr
from Training.teachers.weights import IMAGENET, Teacher, load_teacher, row_of

Samples = ViewDataset | ChosenOrgans
PUBLISHED = {"image": "simclr_r50_2x_sk", "patch": "mae_vit_large"}  # the papers' teachers
STANDARDISED = 64  # views over which a teacher's features are standardised


def train_expert(config: Stage1Expert) -> None:
    """Train and write ``expert.safetensors`` into the run's folder."""
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    variant = get_variant(row_on(config.encoder, "samed"), config.encoder, name=f"expert_{config.level}",
                          adapters=(config.level,), rank=config.rank, trained=("lora",))
    model = build_model(variant, 1, config.preprocessing.image_size)
    load_base(model, read_tensors(config.base))
    train_only(model, expert_keys(model, config.level))
    teacher = find_teacher(config) if config.supervision == "teacher" else None
    for organ in config.organs:
        manifest.labels.by_name(organ)
    run = Run(config.output, config)  # what is refused before leaves no folder behind
    cache = build_cache(manifest, manifest.of(*config.splits), config.preprocessing, config.cache)
    samples = make_samples(config, cache, manifest.labels)
    card = Card(kind="expert", name=config.level, variant=variant, image_size=model.image_size,
                preprocessing=config.preprocessing, base=reference_to(config.base), parents=teacher_reference(config),
                training={"script": "stage1_expert", "level": config.level, "supervision": config.supervision,
                          "steps": config.optimisation.steps, "batch_size": config.optimisation.batch_size,
                          "slices": len(samples), **({"organs": config.organs} if config.organs else {})})
    card.check()  # before days of training
    fit(fabric, make_objective(config, model, samples, teacher), samples, config.optimisation, run)
    if fabric.is_global_zero:
        save_expert(config.output / "expert.safetensors", model, config.level, card)


def make_samples(config: Stage1Expert, cache: SliceCache, labels: LabelSet) -> Samples:
    """Views without labels; or with them, of the organs that the expert is taught."""
    if config.supervision == "labels":
        slices = SliceDataset(cache, None, config.optimisation.seed, config.augment)
        return ChosenOrgans(slices, labels, config.organs)
    return ViewDataset(cache, make_view(config), config.optimisation.seed)


def make_view(config: Stage1Expert) -> View:
    """What each level looks at: one view, two of them to contrast, or a noisy and a clean one."""
    if config.level == "image" and config.supervision == "scratch":
        return partial(two_views, policy=config.augment)
    if config.level == "pixel":
        return partial(noisy_and_clean, policy=config.augment)
    return partial(one_view, policy=config.augment)


def make_objective(config: Stage1Expert, model: SegmentationModel, samples: Samples, teacher: Teacher | None = None
                   ) -> nn.Module:
    """The level's objective on the model's encoder; some of ``samples`` standardise a teacher's features."""
    size, encoder = model.variant.size, model.image_encoder
    if config.supervision == "labels":
        return LabelledObjective(encoder, config.level, size.out_chans, len(config.organs))
    if teacher is not None:
        return _distillation(config, model, teacher, torch.stack([samples[0, i][0] for i in _spread(len(samples))]))
    if config.level == "image":
        return ContrastiveObjective(encoder, size.out_chans)
    if config.level == "patch":
        return MaskedObjective(encoder, size.token_dim, size.patch_size, config.mask_ratio)
    return DenoisingObjective(encoder, size.out_chans, size.patch_size, config.dice_weight)


def _spread(count: int) -> range:
    """About STANDARDISED indexes, evenly over all cases."""
    return range(0, count, max(count // STANDARDISED, 1))


def _distillation(config: Stage1Expert, model: SegmentationModel, teacher: Teacher, views: Tensor) -> nn.Module:
    size, encoder, frozen = model.variant.size, model.image_encoder, Frozen(teacher, views)
    if config.level == "image":
        return ImageDistillation(encoder, size.out_chans, frozen, config.hidden)
    return PatchDistillation(encoder, size.token_dim, frozen, config.hidden, config.mask_ratio)


def find_teacher(config: Stage1Expert) -> Teacher:
    """The teacher that the configuration names, or the level's own with its published ImageNet weights.

    Raises:
        ValueError: the file holds the other level's teacher.
    """
    published = PUBLISHED[config.level]
    source = config.teacher or IMAGENET[published]
    teacher = load_teacher(row_of(source) or published, source, config.preprocessing.image_size)
    if not isinstance(teacher, Simclr if config.level == "image" else Mae):
        raise ValueError(f"'{config.teacher}' cannot teach the {config.level} level; give SimCLR's file for image and "
                         "MAE's for patch.")
    return teacher


def teacher_reference(config: Stage1Expert) -> tuple[dict[str, str], ...]:
    """The teacher's file for the card, if there is one."""
    if config.supervision != "teacher":
        return ()
    source = config.teacher or IMAGENET[PUBLISHED[config.level]]
    return (reference_to(source) if Path(source).is_file() else {"name": source, "sha256": ""},)


if __name__ == "__main__":
    command(train_expert, Stage1Expert)
