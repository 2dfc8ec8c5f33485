"""H-SAM files (``w_a_000`` ..., two decoders and a prompt encoder under two names) -> our keys."""

from __future__ import annotations

import re

from torch import Tensor

from SAMoraLib.importers.samed import from_samed

_TWICE = "prompt_encoder2."  # the same tensors as prompt_encoder
_CLASS_ATTENTION = re.compile(r"mask_decoder2\.(?=(self_attn2?|norm[12]|mlp|med_sel)\.)")


def from_h_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an H-SAM file to this project's state-dict keys; the prompt encoder's copy is left out."""
    kept = {key: value for key, value in state.items() if not key.startswith(_TWICE)}
    return {_CLASS_ATTENTION.sub("mask_decoder2.class_attention.", key): value
            for key, value in from_samed(kept).items()}
