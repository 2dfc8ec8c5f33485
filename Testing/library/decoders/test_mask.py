"""The package's prompt encoder and mask decoder as we build and call them."""

from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from SAMoraLib.decoders.mask import build_mask_decoder, build_prompt_encoder, decode
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.features import Features
from Testing.closeness import assert_close
from Testing.golden import Golden, assert_golden, fixtures, sam_size
from Testing.small import SIZE, randomise, small_model

EMBEDDING = torch.randn(3, 32, 4, 4, generator=torch.Generator().manual_seed(0))


def small_pair(num_classes: int):
    prompt, decoder = build_prompt_encoder(SIZE, 32).eval(), build_mask_decoder(SIZE, num_classes).eval()
    randomise(prompt)
    randomise(decoder)
    return prompt, decoder


@pytest.mark.parametrize("num_classes", [1, 2, 8])
@torch.no_grad()
def test_one_mask_per_class_and_the_background(num_classes: int) -> None:
    masks, iou = decode(*small_pair(num_classes), EMBEDDING)
    assert masks.shape == (3, num_classes + 1, 16, 16)
    assert iou.shape == (3, num_classes + 1)


@torch.no_grad()
def test_all_masks_of_the_packages_forward_without_prompts() -> None:
    prompt, decoder = small_pair(3)
    masks, iou = decode(prompt, decoder, EMBEDDING[:1])
    sparse, dense = prompt(None, None, None)
    for multimask, channels in ((True, slice(1, None)), (False, slice(0, 1))):
        expected_masks, expected_iou = decoder(EMBEDDING[:1], prompt.get_dense_pe(), sparse, dense, multimask)
        assert torch.equal(masks[:, channels], expected_masks)
        assert torch.equal(iou[:, channels], expected_iou)


@torch.no_grad()
def test_slices_of_a_batch_do_not_see_each_other() -> None:
    pair = small_pair(3)
    together = decode(*pair, EMBEDDING)[0]
    alone = torch.cat([decode(*pair, one[None])[0] for one in EMBEDDING])
    assert_close(together, alone)


@torch.no_grad()
def test_every_slab_has_the_one_box_of_its_slices() -> None:
    """Three slabs of two slices, each with a box of its own, and each as by itself."""
    model = small_model("sam")
    embedding = torch.randn(6, 32, 4, 4, generator=torch.Generator().manual_seed(1))
    boxes = torch.tensor([[1.0, 2, 20, 25], [5, 5, 9, 30], [0, 0, 31, 31]])
    masks = model._decode(model, Features(embedding, 2, boxes=boxes))
    for number in range(3):
        slab = slice(2 * number, 2 * number + 2)
        logits, iou = decode(model.prompt_encoder, model.mask_decoder, embedding[slab], boxes[number:number + 1])
        assert_close(masks.logits[slab], logits)
        assert_close(masks.iou[slab], iou)
    unprompted = model._decode(model, Features(embedding, 2))
    assert not torch.allclose(unprompted.logits, masks.logits, atol=1e-3)


def published_sam(golden: Golden) -> Sam:
    """The package's Sam around our encoder, decoder and prompt encoder."""
    size, image_size = sam_size(golden), golden.meta["constructor"]["img_size"]
    sam = Sam(SamImageEncoder(size, image_size), build_prompt_encoder(size, image_size),
              build_mask_decoder(size, golden.meta["constructor"]["num_multimask_outputs"])).eval()
    sam.load_state_dict(golden.weights("state_dict"))
    return sam


def prompts(io: dict[str, Tensor], kind: str) -> dict[str, object]:
    given = {"points": (io["points"], io["labels"]), "boxes": io["boxes"], "masks": io["mask_in"]}
    wanted = {"none": (), "points": ("points",), "box": ("boxes",), "all": tuple(given)}[kind]
    return {name: given[name] if name in wanted else None for name in given}


@pytest.mark.parametrize("kind", ["none", "points", "box", "all"])
@pytest.mark.parametrize("golden", fixtures("sam_vit"))
@torch.no_grad()
def test_published_numbers_with_every_prompt(golden: Golden, kind: str) -> None:
    sam, io = published_sam(golden), golden.io
    embedding, positions = sam.image_encoder(sam.preprocess(io["input_u8"].float())), sam.prompt_encoder.get_dense_pe()
    sparse, dense = sam.prompt_encoder(**prompts(io, kind))
    assert_golden(sparse, io[f"{kind}_sparse"])
    assert_golden(dense, io[f"{kind}_dense"])
    for multimask in (True, False):
        masks, iou = sam.mask_decoder(embedding[:1], positions, sparse, dense, multimask)
        assert_golden(masks, io[f"{kind}_lowres_mm{int(multimask)}"])
        assert_golden(iou, io[f"{kind}_iou_mm{int(multimask)}"])


@pytest.mark.parametrize("golden", fixtures("sam_vit"))
@torch.no_grad()
def test_published_numbers_around_the_model(golden: Golden) -> None:
    sam, io = published_sam(golden), golden.io
    preprocessed = sam.preprocess(io["input_u8"].float())
    assert_golden(preprocessed, io["preprocessed"])
    assert_golden(sam.image_encoder(preprocessed), io["image_embeddings"])
    assert_golden(sam.prompt_encoder.get_dense_pe(), io["dense_pe"])
    size = golden.meta["constructor"]["img_size"]
    post = sam.postprocess_masks(io["box_lowres_mm1"], (size - 16, size), tuple(io["post"].shape[-2:]))
    assert_golden(post, io["post"])
