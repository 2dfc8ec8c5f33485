"""LoRA: a Linear that owns named low-rank pairs (Hu et al. 2021, as SAMed uses it: no scale, no bias, no dropout).

The layer *is* the Linear that it extends, so ``weight`` and ``bias`` keep their names and base checkpoints load
unchanged. Several pairs live side by side; the caller names the one to add.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Encoder
from SAMoraLib.kernels.attention import tracks_gradients
from SAMoraLib.kernels.linear import Linear, product
from SAMoraLib.packages.subclassed import take_over

DEFAULT = "default"
Composition = Callable[[list[Tensor], list[Tensor]], tuple[Tensor, Tensor]]


class LowRankPair(nn.Module):
    """dW = B A with A (r, d) and B (width, r); B starts at zero, so a new pair changes nothing.

    With ``gelu`` the pair is B GELU(A x), as in TP-Mamba's released code.
    """

    def __init__(self, in_features: int, width: int, rank: int, gelu: bool = False) -> None:
        super().__init__()
        self.gelu = gelu
        self.a = nn.Parameter(torch.empty(rank, in_features))
        self.b = nn.Parameter(torch.zeros(width, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def reduced(self, x: Tensor) -> Tensor:
        """A x, bent if need be: (..., d) -> (..., r)."""
        reduced = x @ self.a.T
        return F.gelu(reduced) if self.gelu else reduced


class LoRALinear(Linear):
    """A Linear with low-rank pairs on parts of its output.

    Args:
        linear: the layer to extend; its parameters are taken over, not copied.
        names: the adapters that live here, e.g. ("default",) or ("image", "patch", "pixel").
        parts: output part -> its columns (start, stop), e.g. {"q": (0, d), "v": (2d, 3d)} of a fused qkv.
        rank: r.
        gelu: whether a pair is bent, see ``LowRankPair``.
    """

    compose: Composition | None = None  # all pairs of a part, as their A (r, d) and B (width, r), to one A and one B

    def __init__(self, linear: nn.Linear, names: Sequence[str], parts: dict[str, tuple[int, int]],
                 rank: int, gelu: bool = False) -> None:
        take_over(self, linear)
        self.parts = parts
        self.lora = nn.ModuleDict({name: self._new_pairs(rank, gelu) for name in names})

    def _new_pairs(self, rank: int, gelu: bool) -> nn.ModuleDict:
        """An adapter: a pair on each part of the output."""
        return nn.ModuleDict({part: LowRankPair(self.in_features, stop - start, rank, gelu)
                              for part, (start, stop) in self.parts.items()})

    def forward(self, x: Tensor, adapter: str | None = None) -> Tensor:
        """(..., in) -> (..., out) with the pair ``adapter`` added.

        None adds what the pairs compose, or the pair that is alone, as SAMed's is; of several, none.

        Raises:
            ValueError: there is no such adapter.
        """
        out = super().forward(x)
        if adapter is not None:
            return self._with_pair(out, x, adapter)
        if self.compose is not None:
            return out + self._spread({part: _product(x, *self._composed(part)) for part in self.parts})
        return self._with_pair(out, x, next(iter(self.lora))) if len(self.lora) == 1 else out

    def _with_pair(self, out: Tensor, x: Tensor, adapter: str) -> Tensor:
        """``out`` with an adapter's change; without gradients written where ``out`` lies."""
        pairs = self._pairs(adapter)
        if tracks_gradients(out, *pairs.parameters()) or torch.is_autocast_enabled(x.device.type):
            reduced = torch.cat([pairs[part].reduced(x) for part in self.parts], dim=-1)
            return torch.addmm(out.flatten(0, -2), reduced.flatten(0, -2), self._up(pairs)).view_as(out)
        for part, (start, stop) in self.parts.items():
            out.view(-1, self.out_features)[:, start:stop].addmm_(pairs[part].reduced(x).flatten(0, -2),
                                                                  pairs[part].b.T)
        return out

    def _up(self, pairs: Any) -> Tensor:
        """B of every part in its columns: (parts * r, out), so that one product adds them all."""
        return torch.cat([F.pad(pairs[part].b.T, (start, self.out_features - stop))
                          for part, (start, stop) in self.parts.items()])

    def _pairs(self, adapter: str) -> Any:
        if adapter not in self.lora:
            raise ValueError(f"There is no adapter '{adapter}'; this model has {', '.join(self.lora)}.")
        return self.lora[adapter]

    def streams(self, x: Tensor, names: Sequence[str]) -> Tensor:
        """The output without a pair and with each of ``names``: (1 + n, ..., out).

        All pairs share one product on the way down. With gradients one more adds them to the output, without they are
        written into it.
        """
        base = super().forward(x)
        adapters: list[Any] = [self._pairs(name) for name in names]
        pairs = [adapter[part] for adapter in adapters for part in self.parts]
        reduced = product(x, torch.cat([pair.a for pair in pairs])).flatten(0, -2)
        if tracks_gradients(base, reduced, *(pair.b for pair in pairs)):
            return self._added_at_once(base, reduced, adapters)
        return self._added_in_place(base, reduced.to(base.dtype), adapters)

    def _added_at_once(self, base: Tensor, reduced: Tensor, adapters: list[Any]) -> Tensor:
        """One product of all adapters' A x (rows, n parts r) with their B, each in its stream."""
        streams = 1 + len(adapters)
        down = reduced.unflatten(1, (len(adapters), -1)).transpose(0, 1)
        up = torch.stack([self._up(pairs) for pairs in adapters])
        down, up = (F.pad(factor, (0, 0, 0, 0, 1, 0)) for factor in (down, up))  # no change for the first stream
        rows = base.flatten(0, -2).expand(streams, -1, -1)
        return torch.baddbmm(rows, down, up).unflatten(1, base.shape[:-1])

    def _added_in_place(self, base: Tensor, reduced: Tensor, adapters: list[Any]) -> Tensor:
        """Each adapter's change of each part written to where it belongs."""
        out = base.expand(1 + len(adapters), *base.shape).clone()
        downs = iter(reduced.chunk(len(adapters) * len(self.parts), dim=1))
        for stream, pairs in zip(out[1:], adapters, strict=True):
            for part, (start, stop) in self.parts.items():
                stream.flatten(0, -2)[:, start:stop].addmm_(next(downs), pairs[part].b.T.to(out.dtype))
        return out

    def _composed(self, part: str) -> tuple[Tensor, Tensor]:
        pairs: Any = [pairs[part] for pairs in cast(Any, self.lora).values()]
        downs = [pair.a for pair in pairs]
        ups = [pair.b for pair in pairs]
        assert self.compose is not None
        return self.compose(downs, ups)

    def _spread(self, changes: dict[str, Tensor]) -> Tensor:
        """Every part's change in its columns."""
        # Their type is the products': under autocast not that of x, and a wider one would spread to all that follows.
        some = next(iter(changes.values()))
        delta = some.new_zeros(*some.shape[:-1], self.out_features)
        for part, change in changes.items():
            start, stop = self.parts[part]
            delta[..., start:stop] = change
        return delta


def _product(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return (x @ a.T) @ b.T


def add_lora_to_encoder(encoder: Encoder, names: Sequence[str], rank: int, gelu: bool = False) -> None:
    """Put the pairs ``names`` on q and v of the fused qkv of every block (SAMed, section 3.2)."""
    for block in encoder.blocks:
        width = block.attn.qkv.out_features // 3  # wider than the input where a stage of Hiera begins
        parts = {"q": (0, width), "v": (2 * width, 3 * width)}
        block.attn.qkv = LoRALinear(block.attn.qkv, names, parts, rank, gelu)


def add_lora_to_decoder(transformer: Any, rank: int) -> None:
    """Put a pair on q_proj and v_proj of every attention of SAM's two-way transformer (SAMed_s).

    SAMed_s adapts self, token-to-image and image-to-token attention of each layer and the final token-to-image one.
    """
    attentions = [transformer.final_attn_token_to_image]
    for layer in transformer.layers:
        attentions += [layer.self_attn, layer.cross_attn_token_to_image, layer.cross_attn_image_to_token]
    for attention in attentions:
        for name in ("q_proj", "v_proj"):
            linear = getattr(attention, name)
            parts = {name[0]: (0, linear.out_features)}
            setattr(attention, name, LoRALinear(linear, (DEFAULT,), parts, rank))
