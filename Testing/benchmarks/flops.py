"""How many operations an encoder has to do: on real tokens alone, with every key that a window holds."""

from __future__ import annotations

from SAMoraLib.variants import EncoderSize


def needed_operations(size: EncoderSize, image_size: int, streams: int = 1) -> float:
    """Multiplications and additions of SAM's encoder for one slice; ``streams`` run attention and MLP, one projects.

    Low-rank pairs, normalisations and HL-Attn are left out: what is achieved is a little more than what this says.
    """
    tokens, width = (image_size // size.patch_size) ** 2, size.embed_dim
    per_token = 2 * width * width * (3 + streams * (1 + 8))  # qkv once, then output and MLP of every stream
    blocks = 0.0
    for index in range(size.depth):
        keys = tokens if index in size.global_attn_indexes else size.window_size**2
        blocks += tokens * (per_token + streams * 4 * keys * width)
    patches = 2 * tokens * 3 * size.patch_size**2 * width
    neck = 2 * tokens * (width * size.out_chans + 9 * size.out_chans**2)
    return blocks + patches + neck
