"""SAM 2's decoder with finer maps: the package's own path from image to masks is the oracle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from SAMoraLib.decoders.high_res import NoMemory
from SAMoraLib.model import SegmentationModel, build_model
from SAMoraLib.variants import get_variant
from SAMoraLib.weights.sam2 import from_sam2
from Testing.closeness import assert_close
from Testing.sam2_package import HEADS, package_model

SIDE = 64


def twins() -> tuple[Any, SegmentationModel]:
    """The package's model and ours at K = 4 with all of its weights."""
    theirs = package_model(image_size=SIDE)
    ours = build_model(get_variant("sam_2", encoder_size=HEADS), 3, SIDE).eval()
    ours.load_state_dict(from_sam2(theirs.state_dict()))
    return theirs, ours


def package_masks(theirs: Any, image: Tensor, multimask: bool) -> tuple[Tensor, Tensor]:
    """What ``SAM2ImagePredictor`` does with an image and no prompt."""
    levels = theirs.forward_image(image)["backbone_fpn"]
    embedding = levels[-1] + theirs.no_mem_embed.permute(1, 2, 0)[..., None]
    sparse, dense = theirs.sam_prompt_encoder(points=None, boxes=None, masks=None)
    masks, iou, _, _ = theirs.sam_mask_decoder(
        image_embeddings=embedding, image_pe=theirs.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse.expand(len(image), -1, -1), dense_prompt_embeddings=dense,
        multimask_output=multimask, repeat_image=False, high_res_features=levels[:2])
    return masks, iou


@torch.no_grad()
def test_it_equals_the_package_from_image_to_masks() -> None:
    """The package returns its first mask, or the three others; here they are four channels."""
    theirs, ours = twins()
    image = torch.rand(2, 3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    found = ours(image)
    pairs = [package_masks(theirs, image[:, :, 0], multimask) for multimask in (False, True)]
    masks, iou = (torch.cat(parts, dim=1) for parts in zip(*pairs, strict=True))
    assert masks.std() > 0.1
    assert_close(found.low_res_logits[:, :, 0], masks)
    assert_close(found.iou_predictions[:, :, 0], iou)
    assert found.low_res_logits.shape == (2, 4, 1, SIDE // 4, SIDE // 4)


@torch.no_grad()
def test_every_part_of_it_counts() -> None:
    """The finer maps, the memory's stand-in and the object token: without any of them the masks are others."""
    _, model = twins()
    image = torch.rand(1, 3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    whole = model(image).low_res_logits
    for name in ("mask_decoder.conv_s0.weight", "mask_decoder.conv_s1.weight", "no_memory.embed",
                 "mask_decoder.obj_score_token.weight", "prompt_encoder.no_mask_embed.weight"):
        parameter = model.get_parameter(name)
        kept = parameter.clone()
        parameter.zero_()
        assert (model(image).low_res_logits - whole).abs().max() > 1e-3 * whole.std(), name
        parameter.copy_(kept)


@torch.no_grad()
def test_what_stands_for_memory_is_added_to_every_place_and_starts_small() -> None:
    torch.manual_seed(0)
    memory = NoMemory(4096)
    assert 0.015 < memory.embed.std().item() < 0.025  # as SAM 2's own embeddings start
    embedding = torch.randn(2, 4096, 2, 3)
    found = memory(embedding)
    for number in (0, 7, 4095):
        assert_close(found[:, number], embedding[:, number] + memory.embed[0, 0, number], scale=embedding)
