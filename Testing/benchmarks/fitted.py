"""A model of random weights whose decoder has learned one phantom: its labels are organs.

What stands around the model depends on them: a random model's labels are noise, which takes three times as long to
interpolate and to compress as organs do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.demo.phantom import Phantom
from SAMoraLib.features import Features
from SAMoraLib.model import SegmentationModel
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.preprocessing.slices import prepare_volume, resample_labels
from Training.objectives.losses import segmentation_loss

STEPS, RATE = 500, 5e-4
SLICES, AT_ONCE = 20, 4
PLACES = 0.3  # of the position table's numbers, which start at zero: about as large as embedded patches


def fit_decoder(model: SegmentationModel, phantom: Phantom, preprocessing: Preprocessing, steps: int = STEPS
                ) -> list[float]:
    """Let the decoder learn the phantom's organs from what the encoder makes of some of its slices: the losses."""
    torch.nn.init.normal_(model.image_encoder.pos_embed, std=PLACES)
    prepared = prepare_volume(phantom.ct, preprocessing)
    numbers = np.linspace(0, len(prepared.array) - 1, SLICES).astype(int)
    with torch.no_grad():
        encoded = [model.encode(torch.from_numpy(prepared.slices_of(some))[:, :, None])
                   for some in np.split(numbers, SLICES // AT_ONCE)]
    labels = prepared.reorientation.apply(phantom.labels.array)[numbers]
    side = model.decode(encoded[0]).low_res_logits.shape[-1]
    wanted = torch.from_numpy(resample_labels(labels, prepared.box, side).astype(np.int64))[:, None].split(AT_ONCE)
    return _train(model, encoded, wanted, steps)


def _train(model: SegmentationModel, encoded: Sequence[Features], wanted: Sequence[Tensor], steps: int) -> list[float]:
    parameters = [parameter for name, parameter in model.named_parameters() if not name.startswith("image_encoder.")]
    optimiser = torch.optim.AdamW(parameters, lr=RATE)
    losses = []
    for features, labels in itertools.islice(itertools.cycle(zip(encoded, wanted, strict=True)), steps):
        loss = segmentation_loss(model.decode(features).low_res_logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses
