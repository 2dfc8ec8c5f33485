"""Volumes: the type and its canonical orientation (torch-free); reading and writing is SAMoraLib.volume_io's."""

from SAMoraLib.volume.orientation import Reorientation, to_canonical
from SAMoraLib.volume.volume import Volume

__all__ = ["Reorientation", "Volume", "to_canonical"]
