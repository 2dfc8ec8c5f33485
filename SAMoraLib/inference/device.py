"""Which device a computation runs on."""

from __future__ import annotations

from pathlib import Path

import torch

from SAMoraLib.kernels.int8 import multiplies_int8
from SAMoraLib.system.ranks import local_rank

# As Linux calls what a CPU has for such products, on x86 and on ARM.
PRODUCTS = {"half": {"avx512_bf16", "amx_bf16", "bf16"}, "int8": {"avx512_vnni", "avx_vnni", "amx_int8", "i8mm"}}
NUMBERS = {"half": "in bfloat16", "int8": "8-bit integers"}
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


def check_precision(precision: str, device: torch.device, listed: Path = Path("/proc/cpuinfo")) -> None:
    """Refuse half precision and 8-bit integers on a device that has no products of them.

    Args:
        precision: as in ``SAMoraLib.request.Request``.
        listed: what Linux says of the CPU; elsewhere, where it is missing, any CPU will do.

    Raises:
        ValueError: a CPU that does not multiply such numbers, or 8-bit integers on another device.
    """
    if precision == "full" or (precision == "half" and device.type != "cpu"):
        return
    if device.type != "cpu":
        raise ValueError(f"Products of 8-bit integers are for CPUs, and the device is {device}; choose half precision, "
                         "or the CPU.")
    flags = listed.read_text(encoding="utf-8", errors="replace").split() if listed.exists() else PRODUCTS[precision]
    if not PRODUCTS[precision] & set(flags) or (precision == "int8" and not multiplies_int8()):
        raise ValueError(f"This CPU does not multiply {NUMBERS[precision]}, and that precision would only cost "
                         "accuracy; choose full precision, or a GPU.")
