"""Small files as SAMed, H-SAM and MA-SAM publish them: under their names, with random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from SAMoraLib.exchange.systems import SYSTEMS
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import EncoderSize, get_variant
from SAMoraLib.weights.sam import load_base
from SAMoraLib.weights.tensors import read_tensors
from Testing.small import SIZE, randomise

NUM_CLASSES, IMAGE_SIZE, BASE_SIZE = 3, 32, 48
WHOLE = tuple(key for key, system in SYSTEMS.items() if system.is_whole)


def write_sam(path: Path, seed: int = 1, size: EncoderSize | None = SIZE, encoder: str = "vit_b") -> Path:
    """What stands for SAM's own weights: of another image size and class count."""
    torch.manual_seed(seed)
    save_file(build_model(get_variant("sam", encoder, encoder_size=size), 3, BASE_SIZE).state_dict(), path)
    return path


def adapted_model(system: str, base: Path, size: EncoderSize | None = SIZE, encoder: str = "vit_b"
                  ) -> SegmentationModel:
    """Our row for a system's files, with random weights where its authors trained, on a base."""
    torch.manual_seed(0)
    variant = replace(SYSTEMS[system].variant, encoder=encoder, encoder_size=size)
    model = build_model(variant, NUM_CLASSES, IMAGE_SIZE).eval()
    randomise(model)
    load_base(model, read_tensors(base))
    return model


def published_tensors(system: str, model: SegmentationModel) -> dict[str, Tensor]:
    """What the system's code saves of this model."""
    state = model.state_dict()
    own = SYSTEMS[system].own_keys(model)
    return SYSTEMS[system].to_theirs({key: state[key].clone() for key in own})
