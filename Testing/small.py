"""Models small enough for a test, with weights that hide nothing: no table, bias or low-rank pair is zero."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import torch
from torch import nn

from SAMoraLib.card import METADATA_KEY, Card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import VARIANTS, EncoderSize, Fusion, HieraSize, Variant, get_variant

# Four tokens a side at 32 pixels: windows of three need padding.
SIZE = EncoderSize(32, 2, 4, (1,), window_size=3, patch_size=8, out_chans=32, mask_in_chans=4, decoder_heads=4,
                   decoder_mlp_dim=32, iou_hidden_dim=16, volume_width=8, depth_width=8)
# Eight tokens a side in the first stage; the third stage's windows need padding.
HIERA = HieraSize(16, 2, (1, 1, 2, 1), (3,), (4, 2, 6, 3), background=3, out_chans=32, mask_in_chans=4, decoder_heads=4,
                  decoder_mlp_dim=32, iou_hidden_dim=16)
FUSION = Fusion(width=8)
IMAGE_SIZE = 32
CT = Preprocessing("CT", "hu_window", -125, 275, "body", IMAGE_SIZE)


def randomise(module: nn.Module, seed: int = 0, scale: float = 0.2) -> None:
    """Add noise to every parameter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data.add_(scale * torch.randn(parameter.shape, generator=generator))


def is_sam2(name: str) -> bool:
    """Whether the row's encoder is SAM 2's."""
    return VARIANTS[name].decoder == "high_res"


def small_variant(name: str, size: EncoderSize | HieraSize | None = None, fusion: Fusion = FUSION) -> Variant:
    size = size or (HIERA if is_sam2(name) else SIZE)
    variant = get_variant(name, encoder_size=size)
    return variant if variant.fusion is None else get_variant(name, encoder_size=size, fusion=fusion)


def small_model(name: str, num_classes: int = 4, image_size: int = IMAGE_SIZE, seed: int = 0,
                size: EncoderSize | HieraSize | None = None, fusion: Fusion = FUSION) -> SegmentationModel:
    """A variant with random weights throughout."""
    torch.manual_seed(seed)
    model = build_model(small_variant(name, size, fusion), num_classes, image_size).eval()
    randomise(model, seed)
    return model


def small_card(variant: Variant, kind: str = "model", name: str = "small") -> Card:
    """The card of a model of four organs."""
    return Card(kind, name, variant, IMAGE_SIZE, get_label_set("chaos_mr"), CT)


def write_base(path: Path, seed: int = 5) -> Path:
    """Of another image size and another number of classes, as Meta's are."""
    model = small_model("sam", num_classes=6, image_size=48, seed=seed)
    save_model(path, model, Card("base", "small-base", model.variant, 48))
    return path


def write_bare(path: Path, card_text: str | None) -> Path:
    """A safetensors file without tensors, written by hand so that the card can be damaged."""
    metadata = {"__metadata__": {METADATA_KEY: card_text}} if card_text is not None else {}
    header = json.dumps(metadata).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path
