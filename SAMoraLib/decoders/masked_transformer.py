"""SAM's two-way transformer with attentions that a prior mask weights (learnable mask cross-attention, H-SAM eq. 3).

Shapes: N slices, K tokens (one per class and background), L = h * w positions, C width.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from SAMoraLib.packages.segment_anything import DecoderAttention, TwoWayAttentionBlock, TwoWayTransformer
from SAMoraLib.variants import EncoderSize

DROPOUT = 0.2
# Published files carry three LayerNorms that nothing calls; without them a file would not go out as it came in.
UNUSED_NORMS = (196, 9, 1024)


class MaskedAttention(DecoderAttention):
    """The package's attention at full width, its weights multiplied by a prior after the softmax.

    Args:
        dropout: share of the output that training drops.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(length) for length in UNUSED_NORMS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, prior: Tensor) -> Tensor:
        """(M * softmax(q k^T / sqrt(c))) v, not normalised again.

        Args:
            q: (N, n, C); k, v: (N, m, C).
            prior: M (N, n, m), between 0 and 1.

        Returns:
            (N, n, C).
        """
        projected = self.q_proj(q), self.k_proj(k), self.v_proj(v)
        q, k, v = (self._separate_heads(x, self.num_heads) for x in projected)
        weights = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        return self.dropout(self.out_proj(self._recombine_heads(prior.unsqueeze(1) * weights @ v)))


def build_masked_transformer(size: EncoderSize) -> TwoWayTransformer:
    """The package's transformer, in whose layers tokens and image see each other through the prior."""
    width, heads = size.out_chans, size.decoder_heads
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=size.decoder_mlp_dim, num_heads=heads)
    for layer in transformer.layers:
        layer.cross_attn_token_to_image = MaskedAttention(width, heads, DROPOUT)
        layer.cross_attn_image_to_token = MaskedAttention(width, heads)
    return transformer


def cross_first(transformer: TwoWayTransformer, image: Tensor, image_pe: Tensor, tokens: Tensor,
                prior: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Run a transformer whose tokens look at the image before they look at each other (H-SAM, figure 2).

    Args:
        transformer: with masked attentions, if there is a prior.
        image: (N, C, h, w).
        image_pe: the positions, added to the image in queries and keys; (1, C, h, w).
        tokens: (N, K, C), also added to themselves in queries and keys.
        prior: (N, K, L).

    Returns:
        Tokens (N, K, C) and image (N, L, C).
    """
    image, image_pe = (x.flatten(2).transpose(1, 2) for x in (image, image_pe))
    token_pe = tokens
    for layer in transformer.layers:
        tokens, image = _layer(layer, (tokens, image), (token_pe, image_pe), prior)
    seen = transformer.final_attn_token_to_image(tokens + token_pe, image + image_pe, image)
    return transformer.norm_final_attn(tokens + seen), image


def _layer(layer: TwoWayAttentionBlock, pair: tuple[Tensor, Tensor], positions: tuple[Tensor, Tensor],
           prior: Tensor | None) -> tuple[Tensor, Tensor]:
    (tokens, image), (token_pe, image_pe) = pair, positions
    to_image, to_tokens = ((), ()) if prior is None else ((prior,), (prior.transpose(1, 2),))
    seen = layer.cross_attn_token_to_image(tokens + token_pe, image + image_pe, image, *to_image)
    tokens = layer.norm2(tokens + seen)
    tokens = layer.norm1(_self_attention(layer, tokens, token_pe))
    tokens = layer.norm3(tokens + layer.mlp(tokens))
    told = layer.cross_attn_image_to_token(image + image_pe, tokens + token_pe, tokens, *to_tokens)
    return tokens, layer.norm4(image + told)


def _self_attention(layer: TwoWayAttentionBlock, tokens: Tensor, token_pe: Tensor) -> Tensor:
    if layer.skip_first_layer_pe:  # SAM's first layer replaces the tokens
        return layer.self_attn(tokens, tokens, tokens)
    placed = tokens + token_pe
    return tokens + layer.self_attn(placed, placed, tokens)
