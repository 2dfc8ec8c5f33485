"""How the losses of two decoders are weighted, as a pure function of the epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class DeepSupervision:
    """The first decoder's share of the loss; the second has the rest.

    Attributes:
        form: "h_sam" is the released code's, 1 - (1 - first)^(decay^epoch); "samora" the supplement's exponential decay
            that reaches 0 at ``epochs``; "exponential" that of H-SAM's paper, with first 0.8 and decay 0.995.
        first: the share in epoch 0.
        decay: per epoch.
        epochs: after so many "samora" is 0.
    """

    form: str = "h_sam"
    first: float = 0.4
    decay: float = 0.99
    epochs: int = 300

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ValueError(f"Unknown deep_supervision.form '{self.form}'; choose from {', '.join(FORMS)}.")
        if not (0 <= self.first <= 1 and 0 < self.decay < 1 and self.epochs > 0):
            raise ValueError("Deep supervision needs first in 0..1, decay between 0 and 1 and epochs above 0, but got "
                             f"first {self.first}, decay {self.decay}, epochs {self.epochs}.")

    def first_share(self, epoch: int) -> float:
        """The first decoder's share of the loss in an epoch, counted from 0."""
        return FORMS[self.form](self, epoch)


def _h_sam(supervision: DeepSupervision, epoch: int) -> float:
    second: float = (1 - supervision.first) ** (supervision.decay**epoch)
    return 1 - second


def _exponential(supervision: DeepSupervision, epoch: int) -> float:
    return supervision.first * supervision.decay**epoch


def _samora(supervision: DeepSupervision, epoch: int) -> float:
    # "Exponential decay, starting from 0.4 and reaching 0 over 300 epochs": lowered so that it ends at 0, not above.
    end = supervision.decay**supervision.epochs
    return supervision.first * max(supervision.decay**epoch - end, 0) / (1 - end)


FORMS: dict[str, Callable[[DeepSupervision, int], float]] = {"h_sam": _h_sam, "samora": _samora,
                                                             "exponential": _exponential}
