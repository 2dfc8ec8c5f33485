"""Before any test imports segment_anything: its torchvision may not match torch."""

from __future__ import annotations

from SAMoraLib.packages.torchvision import ensure_torchvision_imports

ensure_torchvision_imports()
