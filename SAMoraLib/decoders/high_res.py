"""SAM 2's mask decoder with its two finer maps, prompt-free, with one mask token per class (SAMed-2).

What SAMed does with SAM's decoder (section 3.3) done with SAM 2's: all K tokens are asked, the first is the background.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from SAMoraLib.decoders.decoder import Decoder, Masks
from SAMoraLib.decoders.mask import build_prompt_encoder
from SAMoraLib.features import Features
from SAMoraLib.packages.sam2 import HighResMaskDecoder, HighResTransformer
from SAMoraLib.variants import HieraSize, Variant


class NoMemory(nn.Module):
    """What stands for the memory of other frames where there are none: SAM 2 adds it to a single image's embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(1, 1, channels))
        nn.init.trunc_normal_(self.embed, std=0.02)

    def forward(self, embedding: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        return embedding + self.embed[0, 0, :, None, None]


def build_high_res_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """SAM 2's decoder with K = num_classes + 1 outputs (N, K, S / 4, S / 4).

    The prompt encoder is SAM's: SAM 2's has the same tensors, and answers the same where nothing is prompted.
    """
    size = variant.size
    return Decoder({"prompt_encoder": build_prompt_encoder(size, image_size), "no_memory": NoMemory(size.out_chans),
                    "mask_decoder": build_mask_decoder(size, num_classes)}, _run)


def build_mask_decoder(size: HieraSize, num_classes: int) -> HighResMaskDecoder:
    """The package's mask decoder as Meta's SAM 2.1 configures it, with K = num_classes + 1 mask tokens.

    Its answer to whether there is an object at all (``pred_obj_score_head``) is kept for the files and not asked:
    the background is a class here. The token that belongs to it takes part in the attention.
    """
    transformer = HighResTransformer(depth=2, embedding_dim=size.out_chans, mlp_dim=size.decoder_mlp_dim,
                                     num_heads=size.decoder_heads)
    return HighResMaskDecoder(transformer_dim=size.out_chans, transformer=transformer,
                              num_multimask_outputs=num_classes, iou_head_depth=3,
                              iou_head_hidden_dim=size.iou_hidden_dim, use_high_res_features=True,
                              iou_prediction_use_sigmoid=True, pred_obj_scores=True, pred_obj_scores_mlp=True,
                              use_multimask_token_for_obj_ptr=True)


def _run(model: Any, features: Features) -> Masks:
    decoder, prompts = model.mask_decoder, model.prompt_encoder
    finest, finer = features.skips
    sparse, dense = prompts(points=None, boxes=None, masks=None)
    logits, iou, _, _ = decoder.predict_masks(
        image_embeddings=model.no_memory(features.embedding), image_pe=prompts.get_dense_pe(),
        sparse_prompt_embeddings=sparse.expand(len(finest), -1, -1), dense_prompt_embeddings=dense, repeat_image=False,
        high_res_features=[decoder.conv_s0(finest), decoder.conv_s1(finer)])
    return Masks(logits, iou)
