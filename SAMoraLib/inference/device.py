"""Which device a computation runs on."""

from __future__ import annotations

import torch

from SAMoraLib.inference.sharing import local_rank


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" takes the first GPU, or the CPU.

    Of several processes that torchrun or SLURM started on one computer each takes a GPU of its own by "auto".

    Raises:
        ValueError: no such device on this machine.
    """
    available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        gpus = available[1:] or ["cpu"]
        return torch.device(gpus[(local_rank() or 0) % len(gpus)])
    wanted = "cuda:0" if name == "cuda" else name
    if wanted not in available:
        raise ValueError(f"Device '{name}' is not on this machine; choose from auto, {', '.join(available)}.")
    return torch.device(wanted)
