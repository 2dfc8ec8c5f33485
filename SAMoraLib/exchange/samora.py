"""Files of SAMora's released code <-> our keys: its experts, which exist here, and what of its files does not.

Per block it has ``samora_adapter.experts.<expert>.linear_<a or b>_<q or v>.weight``, a number ``<expert>_scale`` by
which the expert's change is multiplied, and in stage 2 a fusion of its own, which is not the paper's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from SAMoraLib.variants import EXPERTS

_OF_BLOCK = r"image_encoder\.blocks\.(?P<block>\d+)\.samora_adapter\."
_PAIR = re.compile(_OF_BLOCK + r"experts\.(?P<expert>\w+)\.linear_(?P<ab>[ab])_(?P<part>[qv])\.weight")
_SCALE = re.compile(_OF_BLOCK + r"(?P<expert>[a-z]+)_scale")
_FUSION = re.compile(_OF_BLOCK + r"(fuser|hl_attn)\.")
_OURS = re.compile(r"image_encoder\.blocks\.(?P<block>\d+)\.attn\.qkv\.lora\."
                   r"(?P<expert>\w+)\.(?P<part>[qv])\.(?P<ab>[ab])")


def from_samora(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename an expert's pairs to this project's state-dict keys."""
    return {_renamed(key): value for key, value in state.items()}


def to_samora(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back."""
    return {f"image_encoder.blocks.{found['block']}.samora_adapter.experts.{found['expert']}.linear_{found['ab']}_"
            f"{found['part']}.weight": value for key, value in state.items() if (found := _OURS.fullmatch(key))}


def _renamed(key: str) -> str:
    if found := _PAIR.fullmatch(key):
        return (f"image_encoder.blocks.{found['block']}.attn.qkv.lora.{found['expert']}.{found['part']}."
                f"{found['ab']}")
    return key


def expert_of(key: str) -> str:
    """The expert to whose pairs a tensor of the released code belongs; empty for all others."""
    found = _PAIR.fullmatch(key)
    return found["expert"] if found else ""


def scaled_expert(tensors: Mapping[str, Tensor], expert: str | None) -> dict[str, Tensor]:
    """The pairs of one expert, its scale multiplied into them; the tensors of other systems as they are.

    A scale that is not in the file is 1, as it is where the released code loads such a file.

    Args:
        expert: which, where the file has several.

    Raises:
        ValueError: no such expert, several without a choice, or parts that do not exist here without one.
    """
    found = sorted({name for name in map(expert_of, tensors) if name})
    if not found and expert is not None:
        raise ValueError(f"The file has no experts of SAMora's released code, of which {expert} could be one; leave "
                         "--expert out.")
    if not found:
        return dict(tensors)
    if expert is None:
        _require_one_expert(tensors, found)
        (expert,) = found
    if expert not in found or expert not in EXPERTS:
        raise ValueError(f"The file has no expert '{expert}'; choose from {', '.join(found)}.")
    return {key: _scaled(key, tensors) for key in tensors if expert_of(key) == expert}


def _require_one_expert(tensors: Mapping[str, Tensor], found: list[str]) -> None:
    choice = f"take its experts alone, one at a time, with --expert {found[0]}"
    if fusion := next(filter(_FUSION.match, tensors), None):
        raise ValueError(f"The file fuses its experts as SAMora's released code does (first '{fusion}'), which is not "
                         f"the paper's fusion and none that exists here; {choice}, and train a fusion of them.")
    if others := [key for key in tensors if not expert_of(key) and not _SCALE.fullmatch(key)]:
        raise ValueError(f"The file has experts of SAMora's released code beside other tensors, first '{others[0]}', "
                         f"but not what makes one of them; {choice}.")
    if len(found) > 1:
        raise ValueError(f"The file has the experts {', '.join(found)}, and an expert is a file of its own here; "
                         f"{choice}.")


def _scaled(key: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """A tensor of a pair, its block's scale multiplied into B."""
    value, name = tensors[key], key[: key.index("experts.")] + f"{expert_of(key)}_scale"
    is_scaled = ".linear_b_" in key and name in tensors
    return value * tensors[name].to(value.dtype) if is_scaled else value


def lacks_scales(tensors: Mapping[str, Tensor], expert: str) -> bool:
    """Whether a file of the released code does not say its expert's scales."""
    return not any(found["expert"] == expert for found in map(_SCALE.fullmatch, tensors) if found)
