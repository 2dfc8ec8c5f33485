"""Which places of a slice a model's answer rests on: Grad-CAM on the image embedding (Selvaraju et al. 2017)."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from SAMoraLib.model import SegmentationModel


def relevance(model: SegmentationModel, image: Tensor) -> Tensor:
    """How much each place of slices (N, C, S, S) in [0, 1] speaks for an organ: (N, S, S), 0 to 1 in each slice.

    The target is what the decoder gives the most likely organ at each place where it prefers one to the background, or
    everywhere if there is none. A channel of the embedding weighs what the target's gradient is in its mean.
    """
    with torch.no_grad():
        features = model.eval().encode(image[:, :, None])
    with torch.enable_grad():
        embedding = features.embedding.detach().requires_grad_()
        logits = model.decode(replace(features, embedding=embedding)).low_res_logits[:, :, 0]
        organ = logits[:, 1:].amax(dim=1)
        found = organ > logits[:, 0]
        counts = found | ~found.flatten(1).any(dim=1)[:, None, None]
        (gradient,) = torch.autograd.grad(organ[counts].sum(), embedding)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    maps = F.relu((weights * embedding.detach()).sum(dim=1))
    maps = maps / maps.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)
    return F.interpolate(maps[:, None], image.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
