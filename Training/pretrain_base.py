"""Make a base where no file of Meta's exists: train a small SAM or SAM 2 whole on painted phantoms.

    python -m Training.pretrain_base --config Training/configs/tiny_base.yaml

The base sees no real volume. It learns to name the tissues of phantom abdomens whose contrast is drawn anew for every
slice, so that shape and position count and grey values do not, or count as much as ``ct`` says; stages 1 and 2 then
keep it frozen, as they would SAM.
"""

from __future__ import annotations

from SAMoraLib.card import Card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.demo.phantom import STRUCTURES
from SAMoraLib.model import build_model
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant, row_on
from Training.data.painted import PaintedSlices, phantom_structures
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.objectives.segmentation import SegmentationObjective
from Training.settings.command_line import command
from Training.settings.stages import PretrainBase


def pretrain_base(config: PretrainBase) -> None:
    """Train and write ``base.safetensors`` into the run's folder."""
    run = Run(config.output, config)
    fabric = make_fabric(config.optimisation)
    preprocessing = Preprocessing("CT", "hu_window", *config.window, "body", config.image_size, config.neighbours)
    seeds = range(config.first_seed, config.first_seed + config.phantoms)
    phantoms = phantom_structures(seeds, preprocessing, config.cache, config.workers)
    variant = get_variant(row_on(config.encoder, "sam"), config.encoder)
    model = build_model(variant, len(STRUCTURES) - 1, config.image_size)
    train_only(model, own_keys(model, variant.trained))
    slices = PaintedSlices(phantoms, preprocessing, config.ct, config.optimisation.seed, config.augment,
                           config.untold)
    # From scratch and with many rare tissues, Dice alone starts too slowly: equal weights here.
    objective = SegmentationObjective(model, ce_weight=1.0, dice_weight=1.0)
    card = Card(kind="base", name=f"{config.encoder}-base", variant=variant, image_size=config.image_size,
                training={"script": "pretrain_base", "steps": config.optimisation.steps,
                          "batch_size": config.optimisation.batch_size, "phantoms": config.phantoms,
                          "classes": STRUCTURES, **({"untold": config.untold} if config.untold else {})},
                licence="Apache-2.0", description="Trained whole on painted phantom abdomens; no real volume was seen.")
    card.check()  # before days of training
    fit(fabric, objective, slices, config.optimisation, run)
    if fabric.is_global_zero:
        save_model(config.output / "base.safetensors", model, card)


if __name__ == "__main__":
    command(pretrain_base, PretrainBase)
