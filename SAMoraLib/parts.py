"""Which parameters belong to which part: the one answer that freezing, saving and counting use."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from SAMoraLib.variants import FUSIONS

PARTS = ("base", "lora", "fusion", "depth", "transformer", "decoder", "prompt")


def part_of(key: str) -> str:
    """The part that a parameter or buffer belongs to, from its name in the model's state dict.

    "lora" are the low-rank pairs wherever they are, "fusion" is what makes the experts one, "depth" what looks across
    slices, "transformer" is the mask decoder's two-way transformer (SAMed_s freezes it), "decoder" the rest of the
    mask decoder, "prompt" the prompt encoder and what stands for SAM 2's memory, and "base" everything else: the image
    encoder as pretrained.
    """
    if ".lora." in key or ".fact." in key:
        return "lora"
    if ".depth_adapters." in key:
        return "depth"
    if any(f".{kind}." in key for kind in FUSIONS):
        return "fusion"
    if key.startswith("mask_decoder.transformer."):
        return "transformer"
    prefixes = {"mask_decoder": "decoder", "mask_decoder2": "decoder", "volume_decoder": "decoder",
                "prompt_encoder": "prompt", "no_memory": "prompt"}
    return prefixes.get(key.split(".")[0], "base")


def own_keys(model: nn.Module, parts: Iterable[str]) -> list[str]:
    """State-dict keys of ``parts``.

    Raises:
        ValueError: an unknown part.
    """
    parts = set(parts)
    unknown = parts - set(PARTS)
    if unknown:
        raise ValueError(f"Unknown part '{', '.join(sorted(unknown))}'; choose from {', '.join(PARTS)}.")
    return [key for key in model.state_dict() if part_of(key) in parts]


def expert_keys(model: nn.Module, expert: str) -> list[str]:
    """State-dict keys of the low-rank pairs of one expert."""
    return [key for key in own_keys(model, ["lora"]) if f".lora.{expert}." in key]


def train_only(model: nn.Module, keys: Iterable[str]) -> None:
    """Freeze every parameter but ``keys``."""
    keys = set(keys)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in keys)


def count_parameters(model: nn.Module, parts: Iterable[str] = PARTS, trainable: bool = False) -> int:
    """Number of parameters of ``parts``, without buffers; with ``trainable`` only those that require a gradient."""
    keys = set(own_keys(model, parts))
    return sum(parameter.numel() for name, parameter in model.named_parameters()
               if name in keys and (parameter.requires_grad or not trainable))
