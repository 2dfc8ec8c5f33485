"""Volumes: the type, its canonical orientation, regions (torch-free); reading and writing is SAMoraLib.volume.io's."""

from SAMoraLib.volume.orientation import Reorientation, to_canonical
from SAMoraLib.volume.region import Region
from SAMoraLib.volume.volume import Volume

__all__ = ["Region", "Reorientation", "Volume", "to_canonical"]
