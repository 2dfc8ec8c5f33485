"""What every decoder is: modules under their published names, and the function that runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from SAMoraLib.features import Features


@dataclass(frozen=True)
class Masks:
    """What a decoder says of N slices.

    Attributes:
        logits: (N, K, h, w), background first.
        iou: (N, K), the decoder's estimate of its masks' quality; None if it makes none.
        auxiliary: further logits (N, K, h', w') that deep supervision compares with the labels.
    """

    logits: Tensor
    iou: Tensor | None = None
    auxiliary: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Decoder:
    """Modules, and how they make masks.

    Attributes:
        parts: module name -> module; the model registers them under these names, which published files use.
        run: called with what holds the parts as attributes, and the encoder's features.
        kept_blocks: of how many of the encoder's last blocks it wants the tokens, in place of the neck's map.
    """

    parts: Mapping[str, nn.Module]
    run: Callable[[Any, Features], Masks]
    kept_blocks: int = 0
