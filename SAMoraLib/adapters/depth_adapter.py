"""MA-SAM's 3D adapters: a convolution across the slices of a slab, twice in every block (MA-SAM eq. 3).

Legend: N = B * D slices, the D of a slab in a row; h x w token grid; d channels of the encoder, c of the adapter.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.encoders.block import Block, module_list
from SAMoraLib.encoders.sam_vit import SamBlock, SamImageEncoder
from SAMoraLib.kernels.linear import product
from SAMoraLib.packages.subclassed import take_over


class DepthAdapter(nn.Module):
    """M + GELU(Conv3D(LN(M) W_down)) W_up with a kernel of 3 x 1 x 1 (eq. 3); beyond the slab all is zero.

    W_up starts at zero, so that the encoder starts as pretrained; the released code draws it at random.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.down = nn.Linear(dim, width, bias=False)
        self.conv = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.up = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        """(N, h, w, d) -> (N, h, w, d), slices of the same slab ``depth`` at a time."""
        slabs = self.reduce(x).unflatten(0, (-1, depth))
        mixed = self.conv(slabs.movedim(-1, 1)).movedim(1, -1).flatten(0, 1)
        return x + self.up(F.gelu(mixed))

    def reduce(self, x: Tensor) -> Tensor:
        """LN(M) W_down: (N, h, w, d) -> (N, h, w, c)."""
        return self.down(self.norm(x))

    def averaged(self, x: Tensor, reduced: Tensor, depth: int) -> Tensor:
        """``forward`` with the convolution's mean over the places that a slice can have in a slab of ``depth``.

        At one of them it is the lowest slice and sees none below, at one the highest: each neighbour counts as much as
        the share of places at which it is seen.

        Args:
            x: N consecutive slices (N, h, w, d).
            reduced: theirs, with the one below and the one above: (N + 2, h, w, c); zero beyond the volume.
        """
        taps = zip(self.conv.weight[..., 0, 0].unbind(-1), (None, self.conv.bias, None), strict=True)
        below, own, above = (product(reduced[start:start + len(x)], weight, bias)
                             for start, (weight, bias) in enumerate(taps))
        return x + self.up(F.gelu(own + (depth - 1) / depth * (below + above)))


class DepthBlock(SamBlock):
    """``SamBlock`` with an adapter before the attention and one between attention and MLP (MA-SAM, figure 1).

    It takes over a block and keeps its parameter names.
    """

    def __init__(self, block: Block, width: int) -> None:
        take_over(self, block)
        self.depth_adapters = module_list(DepthAdapter(self.attn.qkv.in_features, width) for _ in range(2))

    def forward(self, x: Tensor, adapter: str | None = None, depth: int = 1) -> Tensor:
        """(N, h, w, d) -> (N, h, w, d)."""
        before, after = self.depth_adapters
        return self.finish(after(self.attend(before(x, depth), adapter), depth))

    def attend(self, x: Tensor, adapter: str | None = None) -> Tensor:
        """Attention with residual, slice by slice: (N, h, w, d) -> (N, h, w, d)."""
        return x + self.attn(self.norm1(x), adapter, self.window_size)

    def finish(self, x: Tensor) -> Tensor:
        """MLP with residual, slice by slice: (N, h, w, d) -> (N, h, w, d)."""
        return x + self.mlp(self.norm2(x))


def add_depth_adapters(encoder: SamImageEncoder, width: int) -> None:
    """Turn every block into a ``DepthBlock``."""
    encoder.blocks = module_list(DepthBlock(block, width) for block in encoder.blocks)
