"""MA-SAM files (``q_FacTs_000`` ..., adapters, decoder and prompt encoder) <-> our keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from torch import Tensor

_SIGMA = re.compile(r"(?P<part>[qv])_FacTs_(?P<block>\d{3})")
_SHARED = re.compile(r"image_encoder\.FacT(?P<factor>[uv])\.weight")
_ADAPTER = re.compile(r"image_encoder\.ImageEncoderViT\.blocks\.(?P<block>\d+)\.Block\.adapter_"
                      r"(?P<layer>norm|linear_down|conv|linear_up)(?P<second>_2)?\.(?P<kind>weight|bias)")


def from_ma_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an MA-SAM file to this project's state-dict keys."""
    return {_renamed(key): value for key, value in state.items()}


def to_ma_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back: a model's own tensors under MA-SAM's names, as they are."""
    return {_THEIRS.get(key, key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    if match := _SIGMA.fullmatch(key):
        return f"image_encoder.blocks.{int(match['block'])}.attn.qkv.fact.{match['part']}.weight"
    if match := _SHARED.fullmatch(key):
        return f"image_encoder.fact.{match['factor']}.weight"
    if match := _ADAPTER.fullmatch(key):
        layer = match["layer"].removeprefix("linear_")
        place = 1 if match["second"] else 0
        return f"image_encoder.blocks.{match['block']}.depth_adapters.{place}.{layer}.{match['kind']}"
    return key


def _added() -> Iterator[str]:
    """Every name that MA-SAM has for what it adds to the encoder."""
    for factor in "uv":
        yield f"image_encoder.FacT{factor}.weight"
    for block in range(MOST_BLOCKS):
        for part in "qv":
            yield f"{part}_FacTs_{block:03d}"
        for layer, second, kind in product(LAYERS, ("", "_2"), ("weight", "bias")):
            yield f"image_encoder.ImageEncoderViT.blocks.{block}.Block.adapter_{layer}{second}.{kind}"


MOST_BLOCKS = 50
LAYERS = ("norm", "linear_down", "conv", "linear_up")
_THEIRS = {_renamed(key): key for key in _added()}
