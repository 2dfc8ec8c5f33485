"""The modules of the segment-anything package without the package, and so without torchvision.

The package as a whole also imports its predictor and mask generator and with them torchvision: a second, a third of the
time until a program's first slice, for nothing that is used here.
"""

from __future__ import annotations

import importlib.util
import sys

PACKAGE, MODELING = "segment_anything", "segment_anything.modeling"


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
