"""In which precision a device is measured: bfloat16 on a CUDA GPU, float32 elsewhere."""

from __future__ import annotations

import torch


def product_type(device: torch.device) -> torch.dtype:
    """Of the numbers that are multiplied."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def as_measured(device: torch.device) -> torch.autocast:
    """Inside, layers multiply such numbers."""
    return torch.autocast(device.type, product_type(device), enabled=device.type == "cuda")
