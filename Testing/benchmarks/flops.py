"""How many operations an encoder has to do: on real tokens alone, with every key that a window holds."""

from __future__ import annotations

from SAMoraLib.variants import EncoderSize


def needed_operations(size: EncoderSize, image_size: int, attending: int = 1, mlps: int = 1, fusion_width: int = 0
                      ) -> float:
    """Multiplications and additions of SAM's encoder for one slice: one stream is projected to q, k and v,
    ``attending`` streams attend and are projected back, ``mlps`` pass the MLP, and HL-Attn fuses at a width.

    Low-rank pairs, positions and normalisations are left out: what is achieved is a little more than what this says.
    """
    tokens, width = (image_size // size.patch_size) ** 2, size.embed_dim
    per_token = 2 * width * width * (3 + attending + 8 * mlps)
    blocks = 0.0
    for index in range(size.depth):
        keys = tokens if index in size.global_attn_indexes else size.window_size**2
        fusion = 16 * width * fusion_width + 2 * 4 * keys * fusion_width  # 8 projections, and attention in two steps
        blocks += tokens * (per_token + attending * 4 * keys * width + fusion)
    patches = 2 * tokens * 3 * size.patch_size**2 * width
    neck = 2 * tokens * (width * size.out_chans + 9 * size.out_chans**2)
    return blocks + patches + neck
