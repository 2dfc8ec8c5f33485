"""What a trained model loses without one of its experts: the honest answer to whether a fusion uses it.

An expert whose low-rank pairs are zero has the base's stream, so that the fusion sees of it what the base knows
already; whatever the kind of fusion, the rest of the model stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from SAMoraLib.adapters.experts import ExpertStreams
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.model import SegmentationModel
from SAMoraLib.variants import EXPERTS
from SAMoraLib.volume import Volume

FUSION, WINDOW_MEAN = "fusion", "window mean"


@dataclass(frozen=True)
class Change:
    """What a removal does.

    Attributes:
        foreground: voxels whose label changes, as a share of those that the whole model gives an organ.
        logits: root mean square of the logits' change, as a share of theirs.
    """

    foreground: float
    logits: float


def removals(model: SegmentationModel) -> Mapping[str, Callable[[], AbstractContextManager[Any]]]:
    """What can be taken out of a model, by name: each expert; the whole fusion; where it has windows, all of E_Omega
    but its mean over each.

    Raises:
        ValueError: the model has no fusion.
    """
    fusion = model.variant.fusion
    if fusion is None:
        raise ValueError(f"'{model.variant.name}' fuses no experts; give a checkpoint of samora, h_samora or samora_2.")
    found: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        expert: partial(without_experts, model, [expert]) for expert in EXPERTS}
    found[FUSION] = partial(without_experts, model, EXPERTS)
    if fusion.kind in ("hl_attn", "hcat", "mole"):
        found[FUSION] = partial(_fused_as, model, torch.zeros_like)
    if fusion.kind in ("hl_attn", "hcat"):
        found[WINDOW_MEAN] = partial(_fused_as, model, lambda fused: fused.mean(dim=1, keepdim=True).expand_as(fused))
    return found


def measure_removals(predictor: Predictor, volumes: Sequence[Volume],
                     tell: Callable[[str], None] = lambda removed: None) -> dict[str, Change]:
    """Segment each volume with the whole model and without each of its ``removals``.

    Args:
        tell: called with what is taken out before each pass.
    """
    taken_out = removals(predictor.model)
    totals = {name: np.zeros(4) for name in taken_out}
    for volume in volumes:
        tell("nothing")
        labels, logits = _segmented(predictor, volume)
        for name, removal in taken_out.items():
            tell(name)
            with removal():
                changed, their_logits = _segmented(predictor, volume)
            pairs = list(zip(their_logits, logits, strict=True))
            totals[name] += (float((changed != labels).sum()), float((labels > 0).sum()),
                             sum(_power(one - other) for one, other in pairs), sum(map(_power, logits)))
    return {name: Change(_share(voxels, of_voxels), _share(power, of_power)**0.5)
            for name, (voxels, of_voxels, power, of_power) in totals.items()}


@contextmanager
def without_experts(model: SegmentationModel, experts: Sequence[str]) -> Iterator[None]:
    """Inside, the low-rank pairs of some experts are zero."""
    ends = [f".lora.{expert}.{part}.b" for expert in experts for part in ("q", "v")]
    pairs = [pair for name, pair in model.named_parameters() if name.endswith(tuple(ends))]
    kept = [pair.detach().clone() for pair in pairs]
    try:
        for pair in pairs:
            pair.data.zero_()
        yield
    finally:
        for pair, values in zip(pairs, kept, strict=True):
            pair.data.copy_(values)


@contextmanager
def _fused_as(model: SegmentationModel, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, every block adds another E_Omega."""
    with ExitStack() as hooks:
        for block in cast("Sequence[ExpertStreams]", model.image_encoder.blocks):
            hooks.callback(block.fusion.register_forward_hook(lambda module, given, out: change(out)).remove)
        yield


def _segmented(predictor: Predictor, volume: Volume) -> tuple[np.ndarray, list[Tensor]]:
    """Labels, and the logits of each batch."""
    logits: list[Tensor] = []
    hook = predictor.model.register_forward_hook(lambda module, given, out: logits.append(out.low_res_logits))
    try:
        return predictor.predict(volume).array, logits
    finally:
        hook.remove()


def _power(logits: Tensor) -> float:
    return float(logits.double().square().sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
