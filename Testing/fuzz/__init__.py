"""Hostile inputs of every format that is read; see ``Testing/fuzz/__main__.py``."""

import sys

from Testing.folders import ROOT

if str(ROOT / "SAMora") not in sys.path:  # as Slicer has it
    sys.path.insert(0, str(ROOT / "SAMora"))
