"""H-SAM files (``w_a_000`` ..., two decoders and a prompt encoder under two names) <-> our keys."""

from __future__ import annotations

import re

from torch import Tensor

from SAMoraLib.exchange.samed import from_samed, to_samed

_ONCE, _TWICE = "prompt_encoder.", "prompt_encoder2."  # two names of one module
_OURS = "mask_decoder2.class_attention."
_CLASS_ATTENTION = re.compile(r"mask_decoder2\.(?=(self_attn2?|norm[12]|mlp|med_sel)\.)")


def from_h_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an H-SAM file to this project's state-dict keys; the prompt encoder's copy is left out."""
    kept = {key: value for key, value in state.items() if not key.startswith(_TWICE)}
    return {_CLASS_ATTENTION.sub(_OURS, key): value
            for key, value in from_samed(kept).items()}


def to_h_sam(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The way back: a model's own tensors under H-SAM's names, the prompt encoder's under both of them."""
    theirs = {key.replace(_OURS, "mask_decoder2."): value for key, value in to_samed(state).items()}
    copies = {_TWICE + key.removeprefix(_ONCE): value.clone() for key, value in theirs.items() if key.startswith(_ONCE)}
    return theirs | copies
