"""The reference row of the results: MONAI's 2D U-Net on the same slices, loss, augmentation and evaluation.

    python -m Training.reference_unet --config Training/configs/chaos_mr/unet.yaml

It is trained from scratch and shares everything with stage 2 but the network, so the table says what SAM's
architecture and the frozen base cost or bring. It is not a variant and cannot be loaded by the library.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from SAMoraLib.card import Card
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.model import Prediction
from SAMoraLib.system.files import atomic_write, file_sha256
from SAMoraLib.variants import get_variant
from Training.data.few_shot import choose_listed
from Training.data.manifest import read_manifest
from Training.data.slices import SliceDataset, build_cache
from Training.engine.loop import fit, make_fabric
from Training.engine.run import Run
from Training.engine.validation import dice_validation
from Training.evaluate import evaluate_cases
from Training.objectives.segmentation import SegmentationObjective
from Training.reports.results import table, write_results
from Training.settings.command_line import command
from Training.settings.stages import ReferenceUNet


class SliceUNet(nn.Module):
    """MONAI's U-Net with residual units, taking slabs and giving a ``Prediction`` like every model here."""

    def __init__(self, num_classes: int, channels: tuple[int, ...], image_channels: int = 1) -> None:
        super().__init__()
        from monai.networks.nets import UNet

        self.net = UNet(spatial_dims=2, in_channels=image_channels, out_channels=num_classes + 1, channels=channels,
                        strides=(2,) * (len(channels) - 1), num_res_units=2, norm="instance")

    def forward(self, image: Tensor) -> Prediction:
        """(B, C, D, S, S) in [0, 1] -> logits (B, K, D, S, S)."""
        batch, _, depth, height, width = image.shape
        logits = self.net(image.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, depth)).transpose(1, 2)
        return Prediction(logits, logits.new_zeros(batch, logits.shape[1], depth), (height, width))


def train_and_evaluate(config: ReferenceUNet) -> dict[str, Any]:
    """Train, and write the test results into the run's folder."""
    run = Run(config.output, config)
    fabric = make_fabric(config.optimisation)
    manifest = read_manifest(config.manifest)
    train = build_cache(manifest, manifest.of("train"), config.preprocessing, config.cache)
    chosen = choose_listed(train.cases, train.listed, config.fraction, config.few_shot_seed)
    model = SliceUNet(len(manifest.labels), config.channels, config.preprocessing.channels)
    slices = SliceDataset(train, chosen, config.optimisation.seed, config.augment)
    objective = SegmentationObjective(model, "full")
    fit(fabric, objective, slices, config.optimisation, run,
        dice_validation(model, manifest, config.preprocessing, config.cache, config.optimisation))
    if not fabric.is_global_zero:
        return {}
    with atomic_write(config.output / "unet.pt") as unfinished:
        torch.save(model.state_dict(), unfinished)
    card = Card("model", "unet", get_variant("sam"), config.preprocessing.image_size, manifest.labels,
                config.preprocessing)
    results = evaluate_cases(manifest, "test", Predictor(model, card).predict, folder=config.output / "test" / "cases",
                             key=file_sha256(config.output / "unet.pt"))
    whole = write_results(config.output / "test", results, {"name": "MONAI U-Net", "split": "test"})
    print(table(whole["summary"]))
    return whole


if __name__ == "__main__":
    command(train_and_evaluate, ReferenceUNet)
