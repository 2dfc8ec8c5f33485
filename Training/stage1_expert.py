"""Stage 1 without teachers: one LoRA expert on unlabelled slices (the paper's "Scratch" row).

    python -m Training.stage1_expert --config Training/configs/chaos_mr/expert.yaml --level image --output runs/image
"""

from __future__ import annotations

from functools import partial

from torch import nn

from SAMoraLib.adapters.trainable import expert_keys, train_only
from SAMoraLib.card import Card, reference_to
from SAMoraLib.checkpoint import save_expert
from SAMoraLib.importers.sam import load_base, read_tensors
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import EXPERTS, get_variant
from Training.config import Stage1Expert, from_command_line
from Training.data.augment import View, augment, noisy_and_clean, two_views
from Training.data.manifest import read_manifest
from Training.data.slices import ViewDataset, build_cache
from Training.loop import fit, make_fabric
from Training.objectives.contrastive import ContrastiveObjective
from Training.objectives.denoising import DenoisingObjective
from Training.objectives.masked import MaskedObjective
from Training.run import Run


def train_expert(config: Stage1Expert) -> None:
    """Train and write ``expert.safetensors`` into the run's folder."""
    if config.level not in EXPERTS:
        raise ValueError(f"Unknown level '{config.level}'; choose from {', '.join(EXPERTS)}.")
    run = Run(config.output, config)
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    cache = build_cache(manifest, manifest.of(*config.splits), config.preprocessing, config.cache)
    variant = get_variant("samed", config.encoder, name=f"expert_{config.level}", adapters=(config.level,),
                          rank=config.rank, trained=("lora",))
    model = build_model(variant, 1, config.preprocessing.image_size)
    load_base(model, read_tensors(config.base))
    train_only(model, expert_keys(model, config.level))
    views = ViewDataset(cache, make_view(config), config.optimisation.seed)
    fit(fabric, make_objective(config.level, model), views, config.optimisation, run)
    card = Card(kind="expert", name=config.level, variant=variant, image_size=model.image_size,
                preprocessing=config.preprocessing, base=reference_to(config.base),
                training={"script": "stage1_expert", "level": config.level, "steps": config.optimisation.steps,
                          "batch_size": config.optimisation.batch_size, "slices": len(cache)})
    if fabric.is_global_zero:
        save_expert(config.output / "expert.safetensors", model, config.level, card)


def make_view(config: Stage1Expert) -> View:
    """What each level looks at: two views, one view, or a noisy and a clean one."""
    if config.level == "image":
        return partial(two_views, policy=config.augment)
    if config.level == "pixel":
        return partial(noisy_and_clean, policy=config.augment)
    return lambda image, rng: (augment(image, None, rng, config.augment)[0],)


def make_objective(level: str, model: SegmentationModel) -> nn.Module:
    """The level's objective on the model's encoder."""
    size, encoder = model.variant.size, model.image_encoder
    if level == "image":
        return ContrastiveObjective(encoder, size.out_chans)
    if level == "patch":
        return MaskedObjective(encoder, size.embed_dim, size.patch_size)
    return DenoisingObjective(encoder, size.out_chans, size.patch_size)


if __name__ == "__main__":
    train_expert(from_command_line(Stage1Expert))
