"""How many slices fit into memory at once: estimated before a volume is begun, so that it need not run out first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.preprocessing.body import largest_slice
from SAMoraLib.system.allocator import give_back_freed_memory
from SAMoraLib.system.memory import available_bytes, resident_bytes
from SAMoraLib.variants import EXPERTS
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import stored_bytes

GIB = 1 << 30
# Upper bounds of what lives at once, a little above what was measured (docs/performance.md). In a block 20 floats per
# token, channel and stream: input, projection, attention, the MLP's hidden layer twice. Where slices stream through a
# model that looks across them, 5 that wait in each block. Behind the decoder 4 per class and pixel.
BLOCK, WAITING, CLASSES = 20, 5, 4
FLOAT = 4


def check_reading(source: Path, max_memory: float | None) -> None:
    """Refuse a volume that cannot even be read within ``max_memory`` (GiB): as a file and as an array at once.

    Raises:
        ValueError: it cannot.
    """
    if max_memory is None:
        return
    give_back_freed_memory()
    missing = resident_bytes() + 2 * stored_bytes(source) - max_memory * GIB
    if missing > 0:
        raise ValueError(f"To read '{source.name}' takes {missing / GIB:.1f} GiB more than the {max_memory:g} GiB "
                         "allowed; allow more, or crop or resample it.")


@contextmanager
def fitted_batch(predictor: Predictor, volume: Volume, max_memory: float | None = None) -> Iterator[bool]:
    """Inside, the predictor runs no more slices of this volume at once than fit; whether these are fewer than it would.

    Afterwards it runs as many as before, unless memory ran out all the same.

    Args:
        max_memory: GiB that the program may take, of the device's memory where that is not the CPU; None: what is free.

    Raises:
        ValueError: not even one slice fits into ``max_memory``.
    """
    give_back_freed_memory()
    free = free_bytes(predictor.device, max_memory)
    if free is None:
        yield False
        return
    around = volume_bytes(volume) if predictor.device.type == "cpu" else 0
    fitting = int((free - around) // slice_bytes(predictor, volume))
    if fitting < 1 and max_memory is not None:
        missing = (around + slice_bytes(predictor, volume) - free) / GIB
        raise ValueError(f"A volume of {' x '.join(map(str, reversed(volume.array.shape)))} voxels needs {missing:.1f} "
                         f"GiB more than the {max_memory:g} GiB allowed; allow more, or crop or resample it.")
    before = predictor.batch_size
    predictor.batch_size = fitted = max(1, min(before, fitting))
    try:
        yield fitted < before
    finally:
        if predictor.batch_size == fitted:
            predictor.batch_size = before


def slice_bytes(predictor: Predictor, volume: Volume) -> int:
    """What one more slice at once takes at most."""
    size, side = predictor.variant.size, predictor.preprocessing.image_size
    tokens = (side // size.first_patch) ** 2
    streams = 1 + len(EXPERTS) if predictor.variant.fusion else 1
    widths = BLOCK * streams + (WAITING * size.depth if predictor.variant.sees != "slices" else 0)
    pixels = max(side**2, largest_slice(volume, predictor.preprocessing))
    return FLOAT * (widths * tokens * size.embed_dim + CLASSES * (1 + len(predictor.labels)) * pixels)


def volume_bytes(volume: Volume) -> int:
    """What is made beside a volume that was read: a copy in canonical order, its labels twice, and a region's mask."""
    return volume.array.nbytes + 3 * volume.array.size


def free_bytes(device: torch.device, max_memory: float | None) -> int | None:
    """Memory that may still be taken; None where the system does not say."""
    if device.type == "cuda":
        taken = torch.cuda.memory_allocated(device)
        idle = torch.cuda.memory_reserved(device) - taken  # torch keeps what the last volume left, and takes it again
        free = torch.cuda.mem_get_info(device)[0] + idle
        return free if max_memory is None else min(free, int(max_memory * GIB) - taken)
    known = [] if (free_ram := available_bytes()) is None else [free_ram]
    if max_memory is not None:
        known.append(int(max_memory * GIB) - resident_bytes())
    return min(known, default=None)
