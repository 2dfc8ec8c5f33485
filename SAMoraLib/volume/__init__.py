"""Volumes: the type, canonical orientation, reading and writing (torch-free; SimpleITK is imported on first use)."""

from SAMoraLib.volume.orientation import Reorientation, to_canonical
from SAMoraLib.volume.volume import Volume

__all__ = ["Reorientation", "Volume", "to_canonical"]
