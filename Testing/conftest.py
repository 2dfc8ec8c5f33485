"""Before any test imports segment_anything: its torchvision may not match torch."""

from __future__ import annotations

from SAMoraLib.packages.torchvision import importable_torchvision

with importable_torchvision():
    import segment_anything  # noqa: F401  whole: a test may ask for what is not used here
