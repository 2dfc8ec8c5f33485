"""Stage 2: fine-tune a variant on labelled slices with 0.2 cross-entropy + 0.8 Dice (SAMora eq. 9).

    python -m Training.stage2_finetune --config Training/configs/chaos_mr/samora.yaml --output runs/samora
"""

from __future__ import annotations

from dataclasses import replace

from SAMoraLib.adapters.trainable import own_keys, train_only
from SAMoraLib.card import Card, reference_to
from SAMoraLib.checkpoint import load_experts, save_model
from SAMoraLib.importers.sam import load_base, read_tensors
from SAMoraLib.labels import LabelSet
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import Variant, get_variant
from Training.config import Stage2, from_command_line
from Training.data.few_shot import choose_slices
from Training.data.manifest import Manifest, read_manifest
from Training.data.slices import SliceDataset, build_cache
from Training.loop import fit, make_fabric
from Training.objectives.segmentation import SegmentationObjective
from Training.run import Run
from Training.validation import dice_validation


def finetune(config: Stage2) -> None:
    """Train and write ``model.safetensors`` into the run's folder."""
    run = Run(config.output, config)
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    train = build_cache(manifest, manifest.of("train"), config.preprocessing, config.cache)
    chosen = choose_slices(train.cases, config.fraction, config.few_shot_seed)
    model = make_model(config, manifest.labels)
    objective = SegmentationObjective(model, config.loss_resolution, config.ce_weight, config.dice_weight)
    slices = SliceDataset(train, chosen, config.optimisation.seed, config.augment)
    fit(fabric, objective, slices, config.optimisation, run,
        dice_validation(model, manifest, config.preprocessing, config.cache, config.optimisation))
    if fabric.is_global_zero:
        save_model(config.output / "model.safetensors", model, make_card(config, model, manifest, len(chosen)),
                   config.base)


def make_variant(config: Stage2) -> Variant:
    """The configured row of the table."""
    variant = get_variant(config.variant, config.encoder, rank=config.rank)
    return replace(variant, fusion=config.fusion if variant.fusion else None, trained=config.trained or variant.trained)


def make_model(config: Stage2, labels: LabelSet) -> SegmentationModel:
    """Base weights and experts in place; only what the variant trains in stage 2 requires a gradient.

    Raises:
        ValueError: the variant's experts are not given.
    """
    variant = make_variant(config)
    model = build_model(variant, len(labels), config.preprocessing.image_size)
    load_base(model, read_tensors(config.base))
    cards = load_experts(model, config.experts, config.base)
    expected = set(variant.adapters) if variant.fusion is not None else set()
    given = {card.name for card in cards}
    if given != expected:
        raise ValueError(f"The variant '{variant.name}' needs the experts {', '.join(sorted(expected)) or 'none'}, got "
                         f"{', '.join(sorted(given)) or 'none'}; give one file of each with --experts.")
    train_only(model, own_keys(model, variant.trained))
    return model


def make_card(config: Stage2, model: SegmentationModel, manifest: Manifest, slices: int) -> Card:
    """What the checkpoint says of itself."""
    optimisation = config.optimisation
    return Card(kind="model", name=config.name or config.output.name, variant=model.variant,
                image_size=model.image_size, labels=manifest.labels, preprocessing=config.preprocessing,
                parents=tuple(reference_to(path) for path in config.experts),
                training={"script": "stage2_finetune", "steps": optimisation.steps,
                          "batch_size": optimisation.batch_size, "slices": slices, "fraction": config.fraction,
                          "cases": len(manifest.of("train"))},
                licence=config.licence, description=config.description)


if __name__ == "__main__":
    finetune(from_command_line(Stage2))
