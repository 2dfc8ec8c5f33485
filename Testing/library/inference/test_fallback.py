"""Out of memory: every step of the way down is taken once, told, and ends with the result of the last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from SAMoraLib.inference.fallback import move_within_memory, predict_within_memory
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.request import Job
from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.volume import Volume
from Testing.small import small_card, small_model

JOB = Job(Path("ct.nrrd"), Path("labels.nrrd"))
CUDA_FULL = "CUDA out of memory. Tried to allocate 2.00 GiB."


class Limited:
    """A predictor on a device with room for what ``fits``: (device, batch size, half)."""

    def __init__(self, *fits: tuple[str, int, bool], device: str = "cuda:0") -> None:
        self.fits, self.tried = fits, []
        self.device, self.batch_size, self.half = torch.device(device), 8, False

    def move_to(self, device: str) -> None:
        self.device = torch.device(device)

    def predict_with_confidence(self, *_: Any) -> str:
        way = (str(self.device), self.batch_size, self.half)
        self.tried.append(way)
        if way not in self.fits:
            raise RuntimeError(CUDA_FULL)
        return "labels"


def predict(predictor: Any, notices: list[str]) -> Any:
    return predict_within_memory(predictor, SimpleNamespace(), JOB, None, lambda *_: None, notices.append)


def test_the_way_down_is_batch_half_cpu() -> None:
    predictor, notices = Limited(("cpu", 1, False)), []
    assert predict(predictor, notices) == "labels"
    assert predictor.tried == [("cuda:0", 8, False), ("cuda:0", 4, False), ("cuda:0", 2, False), ("cuda:0", 1, False),
                               ("cuda:0", 1, True), ("cpu", 1, False)]
    assert notices == [f"Memory ran out on cuda:0; 'ct.nrrd' starts again {way}." for way in (
        "with 4 slices at once", "with 2 slices at once", "slice by slice", "in half precision",
        "on the CPU, which takes longer")]


def test_it_goes_no_further_than_it_must_and_stays_there() -> None:
    predictor, notices = Limited(("cuda:0", 2, False)), []
    predict(predictor, notices)
    predict(predictor, notices)
    assert predictor.tried == [("cuda:0", 8, False), ("cuda:0", 4, False), *[("cuda:0", 2, False)] * 2]
    assert len(notices) == 2


def test_a_full_cpu_ends_it() -> None:
    predictor, notices = Limited(device="cpu"), []
    with pytest.raises(RuntimeError, match="out of memory"):
        predict(predictor, notices)
    assert [batch for _, batch, _ in predictor.tried] == [8, 4, 2, 1] and len(notices) == 3


def test_on_a_cpu_it_goes_on_when_onednn_finds_no_room() -> None:
    """Which says no more than that."""
    predictor, notices = Limited(device="cpu"), []
    predictor.predict_with_confidence = lambda *_: _one_slice_fits(predictor)  # type: ignore[method-assign]
    assert predict(predictor, notices) == "labels"
    assert notices[-1] == "Memory ran out on cpu; 'ct.nrrd' starts again slice by slice."


def _one_slice_fits(predictor: Limited) -> str:
    if predictor.batch_size > 1:
        raise RuntimeError("could not create a primitive")
    return "labels"


def test_other_errors_are_not_taken_for_a_full_memory() -> None:
    predictor = Limited()
    predictor.predict_with_confidence = lambda *_: torch.zeros(2) @ torch.zeros(3)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="size"):
        predict(predictor, [])


def test_torch_says_so_on_this_machine() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)


def test_a_model_that_does_not_fit_stays_on_the_cpu() -> None:
    predictor, notices = Limited(device="cpu"), []

    def full(device: Any) -> None:
        if torch.device(device).type != "cpu":
            raise RuntimeError(CUDA_FULL)

    predictor.move_to = full  # type: ignore[method-assign]
    move_within_memory(predictor, torch.device("cuda:0"), notices.append)  # type: ignore[arg-type]
    assert str(predictor.device) == "cpu" and "does not fit into the memory of cuda:0" in notices[0]


def volume() -> Volume:
    array = np.full((5, 30, 40), -1000, np.int16)
    array[:, 5:25, 5:35] = np.random.default_rng(0).integers(-100, 200, (5, 20, 30))
    return Volume(array, (2.0, 3.0, 5.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


@pytest.mark.parametrize(("device", "same"), [("cpu", 0.97), ("cuda", 0.99)])  # bfloat16 has three bits less
def test_half_precision_gives_nearly_the_same_labels(device: str, same: float) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU on this machine")
    model = small_model("samora")
    predictor = Predictor(model, small_card(model.variant), device, batch_size=1)
    full, sure = predictor.predict_with_confidence(volume())
    predictor.half = True
    half, half_sure = predictor.predict_with_confidence(volume())
    assert full.array.any() and np.mean(full.array == half.array) > same
    assert sure == pytest.approx(half_sure, abs=0.01)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_that_is_really_full() -> None:
    """With all but a little of its memory taken away, the volume is segmented on the CPU all the same."""
    model = small_model("samora")
    predictor = Predictor(model, small_card(model.variant), "cuda")
    expected = predictor.predict(volume())
    torch.cuda.empty_cache()
    room = torch.cuda.memory_reserved() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(room)
    notices: list[str] = []
    try:
        found, _ = predict_within_memory(predictor, volume(), JOB, None, lambda *_: None, notices.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert notices
    assert np.mean(found.array == expected.array) > 0.99
