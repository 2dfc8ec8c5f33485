"""Which devices torch can use here: asked of a child process, because Slicer's own process never imports torch.

Run as a program it prints one JSON line, a ``devices`` or an ``error`` event.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

CPU, AUTOMATIC = "cpu", "auto"


def main() -> int:
    """The program; returns 0, 1 after an ``error`` event, or 130 where it was told to stop."""
    # As a script it would find this folder's modules first, and none beyond where the launcher sets PYTHONPATH anew.
    sys.path[:1] = [str(Path(__file__).resolve().parents[up]) for up in (1, 2)]
    from SAMoraLib.system.parent import run_as_child

    return run_as_child(_answer)


def _answer() -> int:
    """Load all that a segmentation loads, so that what is broken shows now."""
    try:
        import torch

        import SAMoraLib.inference.predictor  # noqa: F401
        devices = [(name, title) for name, title in _candidates(torch) if _works(torch, name)]
    except Exception as error:  # half installed, a library is missing, or built for another numpy
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        _say("error", message=f"PyTorch does not start ({cause}); press Install to install it again.")
        return 1
    _say("devices", devices=devices, torch=torch.__version__)
    return 0


def _candidates(torch: ModuleType) -> Iterator[tuple[str, str]]:
    for number in range(torch.cuda.device_count()):
        yield f"cuda:{number}", f"CUDA {number}: {torch.cuda.get_device_name(number)}"
    if torch.backends.mps.is_available():
        yield "mps", "Apple graphics (MPS)"
    yield CPU, f"CPU, {os.cpu_count()} cores"


def _works(torch: ModuleType, name: str) -> bool:
    """A card that this build of torch has no code for is listed, and fails at the first sum."""
    try:
        return float(torch.ones(8, device=name).sum()) == 8
    except RuntimeError:
        return False


def _say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
