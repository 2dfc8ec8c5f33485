"""The modules of the segment-anything package, without what it imports beside them.

The package as a whole also imports its predictor and mask generator and with them torchvision: a second, a third of the
time until a program's first slice, for nothing that is used here.
"""

from __future__ import annotations

import importlib.util
import sys

from SAMoraLib.packages.torchvision import ensure_torchvision_imports

PACKAGE, MODELING = "segment_anything", "segment_anything.modeling"


def ensure_modeling_imports() -> None:
    """Before ``from segment_anything.modeling import ...``: make it work whatever torchvision is installed.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for another reason than operators that do not match torch.
    """
    if MODELING not in sys.modules:
        ensure_torchvision_imports()


def import_modeling_alone() -> None:
    """Import the modules and not the package; for programs of our own.

    Elsewhere somebody may import the package later, and would miss its attribute ``modeling``.

    Raises:
        ImportError: the package is not installed.
    """
    if PACKAGE in sys.modules or MODELING in sys.modules:
        return
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"No module named '{PACKAGE}'", name=PACKAGE)
    sys.modules[PACKAGE] = importlib.util.module_from_spec(spec)  # never executed: its __init__ is what takes long
    try:
        importlib.import_module(MODELING)
    finally:
        del sys.modules[PACKAGE]
