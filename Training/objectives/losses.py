"""The segmentation loss of SAMed, H-SAM and SAMora: weighted cross-entropy and Dice."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from Training.data.slices import IGNORED
from Training.objectives.processes import summed_over_processes

SMOOTH = 1e-5


def dice_loss(logits: Tensor, label: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """SAMed's Dice loss: the mean over all K classes, background included, of 1 - 2|pt| / (|p|^2 + |t|^2).

    Sums run over the batch of all processes and all pixels together, so that a class absent from one slice of the batch
    still has a gradient from the others; denominators are sums of squares (V-Net), not of probabilities.

    Args:
        logits: (B, K, D, h, w), before softmax.
        label: (B, D, h, w) int64, values 0..K-1, or -100 where the pixel does not count.
        class_weights: (K,), of each class in the mean; all alike by default, as published.
    """
    known = label != IGNORED
    probability = logits.softmax(dim=1) * known.unsqueeze(1)
    classes = F.one_hot(label.masked_fill(~known, 0), logits.shape[1]).movedim(-1, 1)
    target = classes.to(probability.dtype) * known.unsqueeze(1)
    over = (0, *range(2, logits.ndim))
    intersection = (probability * target).sum(over)
    total = probability.square().sum(over) + target.sum(over)  # a one-hot target is its own square
    intersection, total = summed_over_processes(torch.stack([intersection, total]))
    losses = 1 - (2 * intersection + SMOOTH) / (total + SMOOTH)
    return losses.mean() if class_weights is None else (class_weights * losses).sum() / class_weights.sum()


def segmentation_loss(
    low_res_logits: Tensor, label: Tensor, ce_weight: float = 0.2, dice_weight: float = 0.8,
    class_weights: Tensor | None = None,
) -> Tensor:
    """``ce_weight`` x cross-entropy + ``dice_weight`` x Dice at the decoder's resolution (SAMed, section 3.4).

    Args:
        low_res_logits: (B, K, D, h, w), before softmax.
        label: (B, D, h, w) int64, values 0..K-1 or -100, already at h x w (``Training.data.slices.low_res_label``).
        class_weights: (K,), of each class in the Dice's mean.

    Raises:
        ValueError: logits and label are not on the same grid.
    """
    grid = (low_res_logits.shape[0], *low_res_logits.shape[2:])
    if tuple(label.shape) != grid:
        raise ValueError(f"The label has shape {tuple(label.shape)} but the logits need {grid}; resize it first.")
    logits = low_res_logits.float()  # under autocast the sums over the batch would overflow half precision
    dice = dice_loss(logits, label, class_weights)
    loss: Tensor = ce_weight * F.cross_entropy(logits, label) + dice_weight * dice
    return loss


def low_res_label(label: Tensor, size: int) -> Tensor:
    """Labels at the decoder's resolution: (..., S, S) -> (..., size, size), the nearest pixel.

    SAMed's ``scipy.ndimage.zoom(order=0)``: the corner pixels stay corner pixels.
    """
    side = label.shape[-1]
    at = torch.arange(size, device=label.device, dtype=torch.float64) * ((side - 1) / max(size - 1, 1))
    nearest = (at + 0.5).floor().long()
    return label[..., nearest[:, None], nearest]
