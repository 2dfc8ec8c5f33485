"""Meta's ``sam2_hiera_*`` and ``sam2.1_hiera_*`` files -> our keys, as the start of the SAM 2 rows.

What follows objects through a video (memory, pointers) has no place here: it is left
out.
"""

from __future__ import annotations

from collections.abc import Collection

from torch import Tensor

from SAMoraLib.variants import HieraSize

TRUNK = "image_encoder.trunk."
_RENAMED = {"sam_mask_decoder.": "mask_decoder.", "sam_prompt_encoder.": "prompt_encoder.",
            "no_mem_embed": "no_memory.embed"}
_VIDEO = ("memory_attention.", "memory_encoder.", "maskmem_tpos_enc", "no_mem_pos_enc", "no_obj_ptr",
          "no_obj_embed_spatial", "obj_ptr_proj.", "obj_ptr_tpos_proj.", "mask_downsample.")


def from_sam2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a SAM 2 to this project's state-dict keys; tables that are none of SAM 2's stay."""
    if not any(key.startswith("sam_mask_decoder.") for key in state):
        return state
    return {_renamed(key): value for key, value in state.items() if not key.startswith(_VIDEO)}


def _renamed(key: str) -> str:
    for theirs, ours in _RENAMED.items():
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    return key


def check_hiera(encoder: str, size: HieraSize, state: dict[str, Tensor], known: Collection[str]) -> None:
    """Refuse a base of another encoder, or with tensors that are not ``known``.

    Raises:
        ValueError: such a base; it says which encoder, or the first such tensor.
    """
    blocks = {key.split(".")[3] for key in state if key.startswith(f"{TRUNK}blocks.")}
    width = next(iter(state[f"{TRUNK}pos_embed"].shape[1:]), 0) if f"{TRUNK}pos_embed" in state else 0
    if (len(blocks), width) != (size.depth, size.embed_dim):
        raise ValueError(f"The base file holds a Hiera of {len(blocks)} blocks of width {width}, {encoder} has "
                         f"{size.depth} of width {size.embed_dim}; choose the encoder that the file was made for.")
    if unknown := sorted(set(state) - set(known)):
        raise ValueError(f"The base file has {len(unknown)} tensors that are none of SAM 2's, first '{unknown[0]}'; "
                         "give Meta's file or one of Training.pretrain_base.")
