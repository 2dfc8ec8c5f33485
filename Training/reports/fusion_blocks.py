"""What HL-Attn adds in each block of a trained model: how much, whether it tells the tokens of a window apart, and how
many keys a token attends to.

Softmax attention with nearly equal weights returns the mean over its window, the same for every token. The window's
share says how near the fusion is to that: 1 means that it shifts all tokens of a window alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor

from SAMoraLib.adapters.experts import ExpertStreams
from SAMoraLib.adapters.hl_attn import CrossAttention
from SAMoraLib.model import SegmentationModel


@dataclass
class Sums:
    """Of a quantity: of all its values, and how many they are."""

    total: float = 0.0
    count: int = 0

    def add(self, values: Tensor) -> None:
        self.total += float(values.double().sum())
        self.count += values.numel()

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


@dataclass
class FusedBlock:
    """What was seen of one block so far: mean squares of E_Omega (eq. 7), of its mean over each window and of the
    block's output, and the share of its keys to which a token attends.
    """

    fused: Sums = field(default_factory=Sums)
    means: Sums = field(default_factory=Sums)
    output: Sums = field(default_factory=Sums)
    keys: Sums = field(default_factory=Sums)

    @property
    def size(self) -> float:
        """Root mean square of E_Omega over that of the block's output."""
        return (self.fused.mean / self.output.mean) ** 0.5 if self.output.mean else 0.0

    @property
    def window_share(self) -> float:
        """The part of E_Omega's mean square that is the same for all tokens of a window."""
        return self.means.mean / self.fused.mean if self.fused.mean else 0.0

    @property
    def effective_keys(self) -> float:
        """exp(entropy) of the softmax weights over the number of keys, a mean of both steps: 1 for equal weights."""
        return self.keys.mean

    def see_fused(self, windows: Tensor) -> None:
        """E_Omega of some windows (B, N, d)."""
        self.fused.add(windows.square())
        self.means.add(windows.mean(dim=1, keepdim=True).expand_as(windows).square())

    def see_scores(self, q: Tensor, k: Tensor, heads: int) -> None:
        """Projected queries (B, N, w) and keys (B, M, w)."""
        q, k = (tokens.unflatten(-1, (heads, -1)).transpose(1, 2).float() for tokens in (q, k))
        logs = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).log_softmax(dim=-1)
        self.keys.add((-(logs.exp() * logs).sum(dim=-1)).exp() / k.shape[-2])


@contextmanager
def watched_blocks(model: SegmentationModel) -> Iterator[list[FusedBlock]]:
    """Inside, whatever runs through the model is seen, block by block.

    Raises:
        ValueError: the model has no HL-Attn.
    """
    if model.variant.fusion is None or model.variant.fusion.kind != "hl_attn":
        raise ValueError(f"'{model.variant.name}' has no HL-Attn; give a checkpoint of samora.")
    blocks = cast("Sequence[ExpertStreams]", model.image_encoder.blocks)
    seen = [FusedBlock() for _ in blocks]
    with ExitStack() as hooks:
        for block, sums in zip(blocks, seen, strict=True):
            hooks.callback(block.register_forward_hook(_output_to(sums)).remove)
            hooks.callback(block.fusion.register_forward_hook(_fused_to(sums)).remove)
            for step in ("low", "high"):
                _watch_scores(cast(CrossAttention, block.fusion.get_submodule(step)), sums, hooks)
        yield seen


def _output_to(sums: FusedBlock) -> Any:
    return lambda module, given, out: sums.output.add(out.square())


def _fused_to(sums: FusedBlock) -> Any:
    return lambda module, given, out: sums.see_fused(out)


def _watch_scores(step: CrossAttention, sums: FusedBlock, hooks: ExitStack) -> None:
    """Queries are projected first, so that they are there when keys are."""
    last: dict[str, Tensor] = {}
    hooks.callback(step.q.register_forward_hook(lambda module, given, out: last.update(q=out)).remove)
    hooks.callback(step.k.register_forward_hook(
        lambda module, given, out: sums.see_scores(last["q"], out, step.heads)).remove)
