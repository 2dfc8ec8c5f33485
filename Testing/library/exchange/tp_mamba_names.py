"""State dicts of TP-Mamba's released models (timm's ViT names) -> our keys."""

from __future__ import annotations

import re

from torch import Tensor

# In this order: the first pattern that fits names the tensor. Nothing in the released code reads sam.head.
_NAMES = tuple((re.compile(theirs), ours) for theirs, ours in (
    (r"sam\.(patch_embed\..+|pos_embed)", r"image_encoder.\1"),
    (r"sam\.(blocks\.\d+\.attn\.qkv)\.linear_([ab])_([qv])\.weight", r"image_encoder.\1.lora.default.\3.\2"),
    (r"sam\.(blocks\.\d+\.attn\.qkv)\.qkv\.(.+)", r"image_encoder.\1.\2"),
    (r"sam\.(blocks\.\d+\.mlp)\.fc([12])\.(.+)", r"image_encoder.\1.lin\2.\3"),
    (r"sam\.(blocks\..+)", r"image_encoder.\1"),
    (r"Adapter\.(\d+)\.b(\d)\.0\.weight", r"image_encoder.depth_adapters.\1.scales.\2.weight"),
    (r"Adapter\.(\d+)\.(down)\.0\.weight", r"image_encoder.depth_adapters.\1.\2.weight"),
    (r"Adapter\.(\d+)\.(up)\.weight", r"image_encoder.depth_adapters.\1.\2.weight"),
    (r"Adapter2\.(\d+)\.mid\.0\.(.+)", r"image_encoder.depth_adapters.\1.planes.mamba.PLANE.\2"),
    (r"Adapter2\.(\d+)\.mid\.1\.(.+)", r"image_encoder.depth_adapters.\1.planes.norm.\2"),
    (r"Adapter2\.(\d+)\.(.+)", r"image_encoder.depth_adapters.\1.\2"),
    (r"(?:decoder\.)?up(\d)\.convup\.0\.conv\.(.+)", r"volume_decoder.levels.\1.enlarge.\2"),
    (r"(?:decoder\.)?up(\d)\.convup\.1\.conv\.unit0\.conv\.(.+)", r"volume_decoder.levels.\1.refine.\2"),
    (r"(?:decoder\.)?up\.0\.conv1\.conv\.(.+)", r"volume_decoder.mix.first.\1"),
    (r"(?:decoder\.)?up\.0\.conv2\.conv\.(.+)", r"volume_decoder.mix.second.\1"),
    (r"(?:decoder\.)?up\.0\.conv3\.conv\.(.+)", r"volume_decoder.mix.beside.\1"),
    (r"(?:decoder\.)?up\.(\d)\.convup\.0\.conv\.(.+)", r"volume_decoder.doublings.\1.enlarge.\2"),
    (r"(?:decoder\.)?up\.(\d)\.convup\.1\.conv\.unit0\.conv\.(.+)", r"volume_decoder.doublings.\1.refine.\2"),
    (r"(?:decoder\.)?final\.(.+)", r"volume_decoder.final.\1"),
))
_FROM_ONE = re.compile(r"(?<=scales\.|levels\.)\d|(?<=doublings\.)\d")  # they count from one, we from zero
_UNUSED = "sam.head."


def from_tp_mamba(state: dict[str, Tensor], plane: str = "volume") -> dict[str, Tensor]:
    """Rename the tensors of SAM_Base, SAM_MS or SAM_Mamba to this project's state-dict keys.

    Position tables keep their length: timm resizes them when it runs (docs/variants/tp_mamba.md).

    Args:
        plane: what SAM_Mamba scans: "volume" (its mode 0), "hw" (1) or "dw" (2).

    Raises:
        ValueError: a tensor that none of these models has.
    """
    return {_renamed(key).replace("PLANE", plane): _depth_first(key, value)
            for key, value in state.items() if not key.startswith(_UNUSED)}


def _renamed(key: str) -> str:
    for theirs, ours in _NAMES:
        if match := theirs.fullmatch(key):
            return _FROM_ONE.sub(lambda number: str(int(number[0]) - 1), match.expand(ours))
    raise ValueError(f"TP-Mamba's released models have no tensor '{key}'; give the state dict of SAM_Base, SAM_MS or "
                     "SAM_Mamba.")


def _depth_first(key: str, value: Tensor) -> Tensor:
    """Kernels (..., h, w, d) -> (..., d, h, w)."""
    return value.movedim(-1, 2).contiguous() if value.ndim == 5 else value
