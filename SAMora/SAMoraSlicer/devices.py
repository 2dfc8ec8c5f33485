"""Which devices torch can use here: asked of a child process, because Slicer's own process never imports torch.

Run as a program it prints one JSON line, a ``devices`` or an ``error`` event.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

CPU, AUTOMATIC = "cpu", "auto"
NAME = re.compile(r"cpu|mps|cuda:\d{1,3}")
MOST_DEVICES, LONGEST_TITLE = 100, 100


def known_devices(said: Any) -> list[tuple[str, str]]:
    """Names and titles of devices as the program below, or a settings file, gives them; whatever else it says is left
    out, for the names go into requests.
    """
    pairs = said if isinstance(said, (list, tuple)) else []
    return [(pair[0], _shown(pair[1])) for pair in pairs[:MOST_DEVICES] if _is_device(pair)]


def _is_device(pair: Any) -> bool:
    return (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(text, str) for text in pair)
            and bool(NAME.fullmatch(pair[0])))


def _shown(title: str) -> str:
    """What a driver calls its card, on one line."""
    return "".join(letter if letter.isprintable() else " " for letter in title[:LONGEST_TITLE])


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
        trouble = _trouble_with_numpy(torch)
        devices = [(name, title) for name, title in _candidates(torch) if not trouble and _works(torch, name)]
    except Exception as error:  # half installed, a library is missing, or built for another numpy
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        _say("error", message=f"PyTorch does not start ({cause}); press Install to install it again.")
        return 1
    if trouble:
        _say("error", message=trouble)
        return 1
    _say("devices", devices=devices, torch=torch.__version__)
    return 0


def _candidates(torch: ModuleType) -> Iterator[tuple[str, str]]:
    for number in range(torch.cuda.device_count()):
        yield f"cuda:{number}", f"CUDA {number}: {torch.cuda.get_device_name(number)}"
    if torch.backends.mps.is_available():
        yield "mps", "Apple graphics (MPS)"
    yield CPU, f"CPU, {os.cpu_count()} cores"


def _trouble_with_numpy(torch: ModuleType) -> str:
    """Slices go into torch from numpy, and labels back, which a torch that was built for another numpy refuses: one
    sentence about that, or "".
    """
    import numpy as np

    try:
        torch.from_numpy(np.ones(8, np.float32)).numpy()
    except (RuntimeError, TypeError) as error:
        return (f"PyTorch {torch.__version__} does not work with NumPy {np.__version__} ({str(error).rstrip('.')}); "
                "press Install to install it again, or, where there is no newer PyTorch, as for Macs with Intel "
                "processors, install numpy below 2.")
    return ""


def _works(torch: ModuleType, name: str) -> bool:
    """A card that this build of torch has no code for is listed, and fails at the first sum; so does the way there."""
    import numpy as np

    try:
        there = torch.from_numpy(np.ones(8, np.float32)).to(name)
        return float((there + there).cpu().numpy().sum()) == 16
    except (RuntimeError, TypeError):
        return False


def _say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
