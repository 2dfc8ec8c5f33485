"""Which device a computation runs on."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" takes the first GPU, or the CPU.

    Raises:
        ValueError: no such device on this machine.
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device(available[1] if len(available) > 1 else "cpu")
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise ValueError(f"Device '{name}' is not on this machine; choose from auto, {', '.join(available)}.")
    return torch.device(wanted)
