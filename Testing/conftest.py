"""Every test is guarded; and before any imports segment_anything: its torchvision may not match torch."""

from __future__ import annotations

from SAMoraLib.packages.torchvision import importable_torchvision
from Testing.guard import guarded, own_folders  # noqa: F401  fixtures
from Testing.heard_signals import heard_signals  # noqa: F401  a fixture

with importable_torchvision():
    import segment_anything  # noqa: F401  whole: a test may ask for what is not used here
