"""SAM's prompt encoder and mask decoder, prompt-free, with one mask token per class (SAMed, section 3.3)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from SAMoraLib.decoders.decoder import Decoder, Masks
from SAMoraLib.features import Features
from SAMoraLib.packages.segment_anything import MaskDecoder, PromptEncoder, TwoWayTransformer
from SAMoraLib.variants import EncoderSize, HieraSize, Variant


def build_sam_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """SAM's own decoder, prompt-free (SAMed)."""
    size = variant.size
    mask_decoder = build_mask_decoder(size, num_classes)  # first: seeded starts have always drawn it first
    return Decoder({"prompt_encoder": build_prompt_encoder(size, image_size), "mask_decoder": mask_decoder}, _run)


def _run(model: Any, features: Features) -> Masks:
    parts = model.prompt_encoder, model.mask_decoder
    if features.boxes is None:
        return Masks(*decode(*parts, features.embedding))
    # The package repeats every image once per box: one slab at a time, with the one box of its slices.
    slabs = zip(features.embedding.split(features.depth), features.boxes.split(1), strict=True)
    logits, iou = zip(*(decode(*parts, embedding, box) for embedding, box in slabs), strict=True)
    return Masks(torch.cat(logits), torch.cat(iou))


def build_prompt_encoder(size: EncoderSize | HieraSize, image_size: int) -> PromptEncoder:
    """The package's prompt encoder for a square image."""
    grid = image_size // size.patch_size
    return PromptEncoder(embed_dim=size.out_chans, image_embedding_size=(grid, grid),
                         input_image_size=(image_size, image_size), mask_in_chans=size.mask_in_chans)


def build_mask_decoder(size: EncoderSize, num_classes: int) -> MaskDecoder:
    """The package's mask decoder with K = num_classes + 1 mask tokens; channel 0 is the background."""
    transformer = TwoWayTransformer(depth=2, embedding_dim=size.out_chans, mlp_dim=size.decoder_mlp_dim,
                                    num_heads=size.decoder_heads)
    return MaskDecoder(num_multimask_outputs=num_classes, transformer=transformer, transformer_dim=size.out_chans,
                       iou_head_depth=3, iou_head_hidden_dim=size.iou_hidden_dim)


def decode(prompt_encoder: PromptEncoder, mask_decoder: MaskDecoder, embedding: Tensor, box: Tensor | None = None
           ) -> tuple[Tensor, Tensor]:
    """Masks of all K tokens, without any prompt or with one box.

    Args:
        embedding: image embedding (B, C, h, w).
        box: (1, 4), the same for all B slices: x0, y0, x1, y1 in pixels.

    Returns:
        Low-resolution logits (B, K, 4h, 4w) and predicted IoU (B, K), which no loss here uses.
    """
    sparse, dense = prompt_encoder(points=None, boxes=box, masks=None)
    return mask_decoder.predict_masks(image_embeddings=embedding, image_pe=prompt_encoder.get_dense_pe(),
                                      sparse_prompt_embeddings=sparse, dense_prompt_embeddings=dense)
