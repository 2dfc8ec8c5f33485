"""The one door to the sam2 package, which is optional: everything of it that is used here.

Raises:
    ValueError: the package is not installed; the sentence says how to install it.
"""

from __future__ import annotations

from SAMoraLib.packages.torchvision import importable_torchvision

__all__ = ["FpnNeck", "Hiera", "HighResMaskDecoder", "HighResTransformer", "ImageEncoder", "MultiScaleAttention",
           "MultiScaleBlock", "PatchEmbed", "PositionEmbeddingSine", "do_pool", "window_partition",
           "window_unpartition"]

try:
    with importable_torchvision():
        from sam2.modeling.backbones.hieradet import Hiera, MultiScaleAttention, MultiScaleBlock, do_pool
        from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
        from sam2.modeling.backbones.utils import PatchEmbed, window_partition, window_unpartition
        from sam2.modeling.position_encoding import PositionEmbeddingSine
        from sam2.modeling.sam.mask_decoder import MaskDecoder as HighResMaskDecoder
        from sam2.modeling.sam.transformer import TwoWayTransformer as HighResTransformer
except ImportError as error:
    raise ValueError(f"SAM 2's rows need the Python package 'sam2' ({error}); install it with pip install "
                     "'samora[sam2]'.") from error
