"""SAM 2 as its package builds it, small: the oracle of the rows on Hiera."""

from __future__ import annotations

import torch
from torch import nn

from SAMoraLib.model import SegmentationModel, empty_model, without_memory
from SAMoraLib.packages.torchvision import importable_torchvision
from SAMoraLib.parts import own_keys, train_only
from SAMoraLib.variants import HieraSize, Variant
from Testing.small import randomise

with importable_torchvision():
    from sam2.build_sam import build_sam2
    from sam2.modeling.backbones.hieradet import Hiera
    from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
    from sam2.modeling.position_encoding import PositionEmbeddingSine
    from sam2.modeling.sam2_base import SAM2Base

# SAM2Base builds its heads with these numbers, whatever the width.
HEADS = HieraSize(16, 2, (1, 1, 2, 1), (3,), (4, 2, 6, 3), background=3, out_chans=32)


def package_encoder(size: HieraSize) -> ImageEncoder:
    """The package's image encoder, with new weights."""
    trunk = Hiera(size.embed_dim, size.num_heads, stages=size.stages, window_spec=size.window_spec,
                  global_att_blocks=size.global_attn_indexes,
                  window_pos_embed_bkg_spatial_size=(size.background, size.background))
    neck = FpnNeck(PositionEmbeddingSine(size.out_chans), size.out_chans, trunk.channel_list,
                   fpn_top_down_levels=[2, 3], fpn_interp_model="nearest")
    return ImageEncoder(trunk, neck, scalp=1).eval()


def package_model(size: HieraSize = HEADS, image_size: int = 64, seed: int = 0) -> SAM2Base:
    """The package's whole model as SAM 2.1 configures it, less what follows objects; no weight is zero."""
    torch.manual_seed(seed)
    model = SAM2Base(package_encoder(size), nn.Identity(), nn.Identity(), image_size=image_size,
                     directly_add_no_mem_embed=True, use_high_res_features_in_sam=True, multimask_output_in_sam=True,
                     iou_prediction_use_sigmoid=True, pred_obj_scores=True, pred_obj_scores_mlp=True,
                     use_obj_ptrs_in_encoder=True, fixed_no_obj_ptr=True, use_multimask_token_for_obj_ptr=True,
                     use_mlp_for_obj_ptr_proj=True, proj_tpos_enc_in_obj_ptrs=True, no_obj_embed_spatial=True,
                     multimask_output_for_tracking=True).eval()
    randomise(model, seed)
    return model


def on_meta(variant: Variant, num_classes: int, image_size: int) -> SegmentationModel:
    """Our whole model without its memory."""
    model = empty_model(variant, num_classes, image_size)
    train_only(model, own_keys(model, variant.trained))
    return model


def package_on_meta(configuration: str) -> nn.Module:
    """What the package builds from one of its files, without its memory."""
    with without_memory():
        return build_sam2(configuration, None, device="meta")
