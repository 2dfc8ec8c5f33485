"""What we are measured against: the segment-anything package's own encoder, with SAMed's LoRA as it was released."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from SAMoraLib.encoders import sam_vit  # noqa: F401  (lets the package import)
from SAMoraLib.variants import EncoderSize


class ReleasedLoRA(nn.Module):
    """A qkv Linear with low-rank pairs on q and v, added in place as the released evaluations do."""

    def __init__(self, qkv: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.qkv, self.width = qkv, qkv.in_features
        self.a_q, self.a_v = (nn.Linear(self.width, rank, bias=False) for _ in range(2))
        self.b_q, self.b_v = (nn.Linear(rank, self.width, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., 3d)."""
        qkv: Tensor = self.qkv(x)
        qkv[..., : self.width] += self.b_q(self.a_q(x))
        qkv[..., -self.width :] += self.b_v(self.a_v(x))
        return qkv


def package_encoder(size: EncoderSize, image_size: int, lora: bool) -> nn.Module:
    """The package's encoder with random weights."""
    from segment_anything.modeling import ImageEncoderViT

    encoder = ImageEncoderViT(
        depth=size.depth, embed_dim=size.embed_dim, img_size=image_size, num_heads=size.num_heads,
        patch_size=size.patch_size, norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True,
        global_attn_indexes=size.global_attn_indexes, window_size=size.window_size, out_chans=size.out_chans)
    if lora:
        for block in encoder.blocks:
            block.attn.qkv = ReleasedLoRA(block.attn.qkv)
    return encoder.eval()


def package_block(heads: int, norm: nn.LayerNorm, rel_pos: Tensor, window: int) -> nn.Module:
    """The package's block for tokens as wide as ``norm``'s and a table of relative positions, without weights."""
    from segment_anything.modeling.image_encoder import Block

    side = (len(rel_pos) + 1) // 2
    with torch.device("meta"):
        return Block(norm.normalized_shape[0], heads, use_rel_pos=True, window_size=window, input_size=(side, side))


def released_state(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our ``samed`` encoder under the names of ``package_encoder(..., lora=True)``."""
    names = {".qkv.weight": ".qkv.qkv.weight", ".qkv.bias": ".qkv.qkv.bias",
             **{f".qkv.lora.default.{part}.{ab}": f".qkv.{ab}_{part}.weight" for part in "qv" for ab in "ab"}}
    state = {}
    for key, value in ours.items():
        ending = next((ending for ending in names if key.endswith(ending)), "")
        state[key.removesuffix(ending) + names.get(ending, "")] = value
    return state


def random_slices(count: int, side: int, device: torch.device) -> Tensor:
    """(count, 3, side, side) in [0, 1]."""
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
