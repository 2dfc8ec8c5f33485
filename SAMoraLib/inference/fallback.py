"""When memory runs out: smaller batches, then half precision, then the CPU; and every step is told."""

from __future__ import annotations

from collections.abc import Callable

import torch

from SAMoraLib.inference.predictor import Confidence, Predictor, Progress
from SAMoraLib.request import Job
from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.volume import Volume

Notice = Callable[[str], None]

def move_within_memory(predictor: Predictor, device: torch.device, notice: Notice) -> None:
    """Take the model to ``device``, or leave it on the CPU if it does not fit there."""
    try:
        predictor.move_to(device)
        return
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    predictor.move_to("cpu")
    free_memory()
    notice(f"The model does not fit into the memory of {device}; it runs on the CPU, which takes longer.")


def predict_within_memory(predictor: Predictor, volume: Volume, job: Job, organs: tuple[str, ...] | None,
                          progress: Progress, notice: Notice) -> tuple[Volume, Confidence]:
    """``Predictor.predict_with_confidence``, started again each time memory runs out: with half the batch, in half
    precision, on the CPU.

    The predictor stays as light as it became: the next volume would most likely run into the same wall.

    Raises:
        RuntimeError, MemoryError: there is no lighter way, or something else failed.
        ValueError: as the predictor.
    """
    while True:
        device = predictor.device
        try:
            return predictor.predict_with_confidence(volume, organs, job.region, progress, job.boxes)
        except (RuntimeError, MemoryError) as error:
            way = lighten(predictor) if is_out_of_memory(error) else None
            if way is None:
                raise
        free_memory()  # here, because the handler still holds the failed call's tensors
        notice(f"Memory ran out on {device}; '{job.input.name}' starts again {way}.")


def lighten(predictor: Predictor) -> str | None:
    """Take the next step down; in words, or None when there is none."""
    if predictor.batch_size > 1:
        predictor.batch_size //= 2
        return f"with {predictor.batch_size} slices at once" if predictor.batch_size > 1 else "slice by slice"
    if predictor.device.type == "cpu":
        return None
    if not predictor.half:
        predictor.half = True
        return "in half precision"
    predictor.half = False
    predictor.move_to("cpu")
    return "on the CPU, which takes longer"


def free_memory() -> None:
    """Give the GPU's cached blocks back, which are too small or too scattered for the next attempt."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
