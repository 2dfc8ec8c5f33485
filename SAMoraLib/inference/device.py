"""Which device a computation runs on."""

from __future__ import annotations

from pathlib import Path

import torch

from SAMoraLib.inference.sharing import local_rank

BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls products of such numbers, on x86 and on ARM
HALF = {"cpu": torch.bfloat16}  # float16, which rounds less, takes seven times as long there as float32


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


def half_type(device: torch.device) -> torch.dtype:
    """The 16-bit type that ``device`` is fast in."""
    return HALF.get(device.type, torch.float16)


def check_half(device: torch.device, listed: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse half precision where it gains nothing.

    Args:
        listed: what Linux says of the CPU; elsewhere, where it is missing, any CPU will do.

    Raises:
        ValueError: a CPU that does not multiply bfloat16 numbers.
    """
    if device.type != "cpu" or not listed.exists():
        return
    if not BFLOAT16 & set(listed.read_text(encoding="utf-8", errors="replace").split()):
        raise ValueError("This CPU does not multiply in bfloat16, and half precision would only cost accuracy; choose "
                         "full precision, or a GPU.")
