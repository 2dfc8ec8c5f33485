"""In which precision a device is measured: float32 on a CPU, bfloat16 on a GPU."""

from __future__ import annotations

import torch


def product_type(device: torch.device) -> torch.dtype:
    """Of the numbers that are multiplied."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def as_measured(device: torch.device) -> torch.autocast:
    """Inside, layers multiply such numbers."""
    return torch.autocast(device.type, product_type(device), enabled=device.type != "cpu")
