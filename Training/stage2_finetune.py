"""Stage 2: fine-tune a variant on labelled slices with 0.2 cross-entropy + 0.8 Dice (SAMora eq. 9).

    python -m Training.stage2_finetune --config Training/configs/chaos_mr/samora.yaml --output runs/samora
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn
from torch.utils.data import Dataset

from SAMoraLib.card import Card, read_card, reference_to
from SAMoraLib.checkpoint import load_experts, save_model
from SAMoraLib.labels import LabelSet
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.parts import count_parameters, own_keys, train_only
from SAMoraLib.preprocessing.settings import check_grid
from SAMoraLib.variants import Variant, get_variant
from SAMoraLib.weights.sam import load_base, start_classes
from SAMoraLib.weights.tensors import read_tensors
from Training.data.boxes import BoxDataset
from Training.data.epochs import EpochDataset
from Training.data.few_shot import choose_listed
from Training.data.frequencies import class_frequencies
from Training.data.manifest import Manifest, read_manifest
from Training.data.patches import PatchDataset
from Training.data.slices import SliceDataset, build_cache
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.engine.validation import dice_validation
from Training.objectives.hierarchical import HierarchicalObjective
from Training.objectives.prompted import PromptedObjective
from Training.objectives.segmentation import SegmentationLoss, SegmentationObjective
from Training.settings.command_line import command
from Training.settings.stages import Stage2

BACKGROUND = "background"
Task = tuple[nn.Module, Dataset]  # objective and samples


def finetune(config: Stage2) -> None:
    """Train and write ``model.safetensors`` into the run's folder."""
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    model = make_model(config, manifest.labels)
    run = Run(config.output, config)  # what is refused before leaves no folder behind
    if fabric.is_global_zero:
        print(f"'{model.variant.name}' trains {count_parameters(model, trainable=True):,} of "
              f"{count_parameters(model):,} parameters.", flush=True)
    train = build_cache(manifest, manifest.of("train"), config.preprocessing, config.cache)
    chosen = choose_listed(train.cases, train.listed, config.fraction, config.few_shot_seed)
    slices = SliceDataset(train, chosen, config.optimisation.seed, config.augment, model.variant.depth)
    objective, samples = make_task(config, model, slices, weights_of_classes(config, manifest.labels))
    card = make_card(config, model, manifest, len(chosen))
    card.check()  # before days of training
    fit(fabric, objective, samples, config.optimisation, run,
        dice_validation(model, manifest, config.preprocessing, config.cache, config.optimisation, model.variant.depth))
    if fabric.is_global_zero:
        save_model(config.output / "model.safetensors", model, card, config.base)


def make_task(config: Stage2, model: SegmentationModel, slices: SliceDataset,
              class_weights: tuple[float, ...]) -> Task:
    """What the row's decoder is trained to do, and the samples for it."""
    if model.variant.takes_boxes:
        return PromptedObjective(model, SegmentationLoss(config.ce_weight, config.dice_weight)), BoxDataset(slices)
    task = TASKS.get(model.variant.decoder, _one_mask)
    return task(config, model, slices, class_weights)


def _one_mask(config: Stage2, model: SegmentationModel, slices: SliceDataset, class_weights: tuple[float, ...]) -> Task:
    weights = config.ce_weight, config.dice_weight, class_weights
    samples = PatchDataset(slices, model.image_size) if config.preprocessing.spacing else slices
    return SegmentationObjective(model, config.loss_resolution, *weights), samples


def _two_masks(config: Stage2, model: SegmentationModel, slices: SliceDataset, class_weights: tuple[float, ...]
               ) -> Task:
    frequencies = class_frequencies(slices.cache, slices.indexes, model.num_classes)
    loss = SegmentationLoss(config.ce_weight, config.dice_weight, class_weights)
    return HierarchicalObjective(model, frequencies, config.deep_supervision, loss), EpochDataset(slices)


TASKS = {"hierarchical": _two_masks}  # by decoder; all others answer once


def make_variant(config: Stage2) -> Variant:
    """The configured row of the table.

    Raises:
        ValueError: validations of a model that is prompted with boxes, which nobody draws, a grid that the row does
            not see, or an expert alone in a row without experts.
    """
    variant = get_variant(config.variant, config.encoder, rank=config.rank)
    if variant.takes_boxes and config.optimisation.validate_every:
        raise ValueError(f"'{variant.name}' is prompted with boxes and cannot be validated while it is trained; set "
                         "optimisation.validate_every to 0, and evaluate it afterwards.")
    check_grid(variant, config.preprocessing)
    variant = replace(variant, fusion=config.fusion if variant.fusion else None,
                      trained=config.trained or variant.trained, depth=config.depth or variant.depth)
    if config.alone and variant.fusion is None:
        raise ValueError(f"The variant '{variant.name}' has no experts of which {config.alone} could be alone; choose "
                         "one that has a fusion, or leave alone empty.")
    return replace(variant, adapters=(config.alone,), fusion=None) if config.alone else variant


def make_model(config: Stage2, labels: LabelSet) -> SegmentationModel:
    """Base weights and experts in place; only what the variant trains in stage 2 requires a gradient.

    Raises:
        ValueError: the variant's experts are not given, or the base lacks a class to start from.
    """
    variant = make_variant(config)
    model = build_model(variant, len(labels), config.preprocessing.image_size)
    base = read_tensors(config.base)
    load_base(model, base)
    if config.classes:
        start_classes(model, base, paired_channels(config, labels))
    cards = load_experts(model, config.experts, config.base)
    needed = variant.fusion is not None or bool(config.alone)
    expected, given = set(variant.adapters) if needed else set(), {card.name for card in cards}
    # Pairs of one name, imported from another program, may also start a row that would start its own.
    if given != expected and (needed or given != set(variant.adapters)):
        raise ValueError(f"The variant '{variant.name}' needs the experts {', '.join(sorted(expected)) or 'none'}, got "
                         f"{', '.join(sorted(given)) or 'none'}; give one file of each with --experts.")
    train_only(model, own_keys(model, variant.trained))
    return model


def paired_channels(config: Stage2, labels: LabelSet) -> dict[int, int]:
    """Channel of the logits -> channel of the base's, as ``config.classes`` names them.

    Raises:
        ValueError: an organ that is not labelled, or a class that the base does not know.
    """
    known = read_card(config.base).training.get("classes", ()) if config.base.suffix == ".safetensors" else ()
    pairs = {}
    for organ, name in config.classes.items():
        if name not in known:
            raise ValueError(f"The base '{config.base}' knows no class '{name}' that {organ} could start from; "
                             f"choose from {', '.join(known) or 'none, it names no classes'}.")
        pairs[0 if organ == BACKGROUND else labels.by_name(organ).value] = list(known).index(name)
    return pairs


def weights_of_classes(config: Stage2, labels: LabelSet) -> tuple[float, ...]:
    """One weight per channel of the logits; none where all are alike.

    Raises:
        ValueError: an organ that is not labelled, or a weight that is not positive.
    """
    if not config.class_weights:
        return ()
    for name, weight in config.class_weights.items():
        if name != BACKGROUND:
            labels.by_name(name)
        if not weight > 0:
            raise ValueError(f"The class weight of {name} is {weight}; give a number above 0.")
    return tuple(float(config.class_weights.get(name, 1)) for name in (BACKGROUND, *labels.names))


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
    command(finetune, Stage2)
