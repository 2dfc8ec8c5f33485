"""Whether a file is a label volume, as results are."""

from __future__ import annotations

from pathlib import Path

from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.volume.io import WRITABLE, read_stored_voxels
from SAMoraLib.volume.room import NoRoom


def is_label_volume(path: Path) -> bool:
    """Whether a file holds integers on a grid and is whole: a result, also one that was corrected with another program,
    and neither an empty or half file nor anything else that stands in a result's place.

    It is read once, which takes a fraction of a second. What memory does not hold now counts: taken for none, a
    finished result would be written over.
    """
    if not path.is_file() or not path.name.lower().endswith(WRITABLE):
        return False
    try:
        return read_stored_voxels(path).dtype.kind in "iu"
    except (ValueError, OSError, MemoryError) as error:
        return isinstance(error, NoRoom) or is_out_of_memory(error)
