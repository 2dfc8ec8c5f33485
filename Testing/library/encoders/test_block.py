"""What an encoder offers to adapters and to training, whichever package it comes from."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from typing import Any

import pytest
import torch
from torch import nn

from SAMoraLib.encoders.block import Block, BlockStack, Encoder, module_list, stacks_in
from SAMoraLib.encoders.sam_vit import SamBlock, SamImageEncoder
from Testing.small import HIERA, SIZE, small_model


def test_a_vit_is_a_stack_of_blocks_itself() -> None:
    encoder = SamImageEncoder(SIZE, 32)
    assert isinstance(encoder, BlockStack)
    assert stacks_in(encoder) == [encoder]
    assert len(encoder.blocks) == SIZE.depth


def test_in_sam_2_the_trunk_holds_the_blocks() -> None:
    pytest.importorskip("sam2", reason="SAM 2's package is optional")
    encoder = small_model("sam_2").image_encoder
    (stack,) = stacks_in(encoder)
    assert stack is not encoder and list(stack.blocks) == list(encoder.blocks)
    assert len(stack.blocks) == HIERA.depth


def test_stacks_are_found_inside_other_modules_and_elsewhere_are_none() -> None:
    encoder = SamImageEncoder(SIZE, 32)
    assert stacks_in(nn.ModuleDict({"first": nn.Linear(2, 2), "second": encoder})) == [encoder]
    assert stacks_in(nn.Sequential(nn.Linear(2, 2))) == []


def test_items_of_a_list_are_parts_of_the_module_and_may_be_exchanged() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.items = module_list(nn.Linear(2, width) for width in (3, 4))

    holder = Holder()
    assert [item.out_features for item in holder.items] == [3, 4]
    assert set(holder.state_dict()) == {"items.0.weight", "items.0.bias", "items.1.weight", "items.1.bias"}
    holder.items[0] = nn.Linear(2, 5)
    assert holder.state_dict()["items.0.weight"].shape == (5, 2)


@torch.no_grad()
@pytest.mark.parametrize("name", ["samed", "samed_2"])
def test_an_embedding_has_the_width_and_grid_that_the_encoder_names(name: str) -> None:
    if name == "samed_2":
        pytest.importorskip("sam2", reason="SAM 2's package is optional")
    encoder = small_model(name).image_encoder
    image = torch.rand(2, 3, encoder.img_size, encoder.img_size)
    assert encoder(image).shape == (2, 32, encoder.grid, encoder.grid)
    tokens = encoder.tokens(image)
    assert tokens.shape[:3] == (2, encoder.grid, encoder.grid)
    embedded = encoder.patch_embed(image)
    assert embedded.shape[1:] == encoder.pos_embed.shape[1:]
    assert torch.equal(encoder.run_blocks(embedded + encoder.pos_embed), tokens)
    for block in encoder.blocks:
        assert block.window_out >= 0 and block.attn.qkv.out_features % 3 == 0


def defaults(function: Any) -> dict[str, object]:
    """Of a method's parameters, by name."""
    return {name: parameter.default for name, parameter in signature(function).parameters.items()
            if parameter.default is not parameter.empty}


@pytest.mark.parametrize("family", ["sam_vit", "sam2_hiera"])
def test_what_is_left_out_means_the_same_in_every_encoder(family: str) -> None:
    """No adapter, and slices that are no slab."""
    encoder: Any = SamImageEncoder
    block: Any = SamBlock
    if family == "sam2_hiera":
        pytest.importorskip("sam2", reason="SAM 2's package is optional")
        hiera = import_module("SAMoraLib.encoders.sam2_hiera")
        encoder, block = hiera.Sam2ImageEncoder, hiera.HieraBlock
    for method in (Block.__call__, block.forward, Encoder.__call__, encoder.forward, Encoder.tokens, encoder.tokens,
                   Encoder.run_blocks, encoder.run_blocks):
        assert defaults(method) == {"adapter": None, "depth": 1}
