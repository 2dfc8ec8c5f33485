"""The one door to the segment-anything package: everything of it that is used here, whatever torchvision is installed.

The package as a whole also imports its predictor and mask generator, and with them torchvision. A program of our own
spares itself that second by ``import_modeling_alone`` (``SAMoraLib.packages.modeling_alone``) before it comes here.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

from SAMoraLib.packages.torchvision import importable_torchvision

__all__ = ["MLP", "DecoderAttention", "EncoderAttention", "EncoderBlock", "ImageEncoderViT", "LayerNorm2d", "MLPBlock",
           "MaskDecoder", "PatchEmbed", "PromptEncoder", "TwoWayAttentionBlock", "TwoWayTransformer"]


def _importable() -> AbstractContextManager[None]:
    """Where its modules are loaded already, torchvision is not asked for again."""
    return nullcontext() if "segment_anything.modeling" in sys.modules else importable_torchvision()


with _importable():
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling.common import LayerNorm2d, MLPBlock
    from segment_anything.modeling.image_encoder import Attention as EncoderAttention
    from segment_anything.modeling.image_encoder import Block as EncoderBlock
    from segment_anything.modeling.image_encoder import PatchEmbed
    from segment_anything.modeling.mask_decoder import MLP
    from segment_anything.modeling.transformer import Attention as DecoderAttention
    from segment_anything.modeling.transformer import TwoWayAttentionBlock
