"""Stage 1: continual pre-training (CPT) of a teacher on unlabelled slices (SAMora section 3.2).

    python -m Training.stage1_teacher --config Training/configs/chaos_mr/teacher_simclr.yaml
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightning_fabric import Fabric
from torch import nn

from SAMoraLib.card import Card, reference_to
from Training.data.augment import View, one_view, two_views
from Training.data.manifest import read_manifest
from Training.data.slices import ViewDataset, build_cache
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.objectives.contrastive import SimclrObjective
from Training.objectives.masked import MaeObjective
from Training.settings.command_line import command
from Training.settings.stages import Stage1Teacher
from Training.teachers.simclr import Simclr
from Training.teachers.weights import Teacher, build_teacher, load_teacher, save_teacher


def train_teacher(config: Stage1Teacher) -> None:
    """Train and write ``teacher.safetensors`` into the run's folder."""
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    size = config.preprocessing.image_size
    teacher = (load_teacher(config.teacher, config.weights, size) if config.weights
               else build_teacher(config.teacher, size))
    run = Run(config.output, config)  # what is refused before leaves no folder behind
    cache = build_cache(manifest, manifest.of(*config.splits), config.preprocessing, config.cache)
    views = ViewDataset(cache, make_view(config, teacher), config.optimisation.seed)
    card = Card(kind="teacher", name=config.teacher, variant=None, image_size=size, preprocessing=config.preprocessing,
                parents=(reference_to(config.weights),) if Path(config.weights).is_file() else (),
                training={"script": "stage1_teacher", "weights": config.weights, "steps": config.optimisation.steps,
                          "batch_size": config.optimisation.batch_size, "slices": len(views)})
    card.check()  # before days of training
    fit(fabric, make_objective(config, teacher, fabric), views, config.optimisation, run)
    if fabric.is_global_zero:
        save_teacher(config.output / "teacher.safetensors", teacher, card)


def make_view(config: Stage1Teacher, teacher: Teacher) -> View:
    """Two views for SimCLR, one for MAE."""
    return partial(two_views if isinstance(teacher, Simclr) else one_view, policy=config.augment)


def make_objective(config: Stage1Teacher, teacher: Teacher, fabric: Fabric) -> nn.Module:
    """NT-Xent for SimCLR, masked patches for MAE."""
    if not isinstance(teacher, Simclr):
        return MaeObjective(teacher, config.mask_ratio)
    if fabric.world_size > 1 and fabric.device.type == "cuda":  # SimCLR's statistics are the whole batch's
        teacher.share_statistics()
    return SimclrObjective(teacher, config.temperature)


if __name__ == "__main__":
    command(train_teacher, Stage1Teacher)
