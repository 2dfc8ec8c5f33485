"""SAMed and SAMed_s files (``w_a_000`` ..., decoder and prompt encoder) <-> our keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from torch import Tensor

_ENCODER = re.compile(r"w_(?P<ab>[ab])_(?P<index>\d{3})")
# SAMed_s: two decoder layers with three attentions each (q and v in turn), and the final attention.
_LAYER = re.compile(r"(?P<where>sa|cti|cit)_(?P<ab>[ab])_(?P<index>\d{3})")
_FINAL = re.compile(r"fati_(?P<part>[qv])(?P<ab>[ab])")
_ATTENTIONS = {"sa": "self_attn", "cti": "cross_attn_token_to_image", "cit": "cross_attn_image_to_token"}


def from_samed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a SAMed or SAMed_s file to this project's state-dict keys."""
    return {_renamed(key): value for key, value in state.items()}


def to_samed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back: a model's own tensors under SAMed's names, as they are."""
    return {_THEIRS.get(key, key): value for key, value in state.items()}


def _renamed(key: str) -> str:
    if match := _ENCODER.fullmatch(key):
        block, part = divmod(int(match["index"]), 2)
        return f"image_encoder.blocks.{block}.attn.qkv.lora.default.{'qv'[part]}.{match['ab']}"
    if match := _LAYER.fullmatch(key):
        layer, part = divmod(int(match["index"]), 2)
        attention = f"layers.{layer}.{_ATTENTIONS[match['where']]}"
        return f"mask_decoder.transformer.{attention}.{'qv'[part]}_proj.lora.default.{'qv'[part]}.{match['ab']}"
    if match := _FINAL.fullmatch(key):
        name = match["part"]
        return f"mask_decoder.transformer.final_attn_token_to_image.{name}_proj.lora.default.{name}.{match['ab']}"
    return key


def _pairs() -> Iterator[str]:
    """Every name that SAMed and SAMed_s have for half a pair."""
    for ab in "ab":
        for index in range(2 * MOST_BLOCKS):
            yield f"w_{ab}_{index:03d}"
        for where, index in product(_ATTENTIONS, range(4)):
            yield f"{where}_{ab}_{index:03d}"
        for part in "qv":
            yield f"fati_{part}{ab}"


MOST_BLOCKS = 50
_THEIRS = {_renamed(key): key for key in _pairs()}
