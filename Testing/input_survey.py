"""What the input check says of every real volume beside the clone, of phantoms, and of changed copies of the CTs.

    python -m Testing.input_survey

The numbers of docs/decisions/0013. Tests hold the phantoms' part (Testing/library/preprocessing/test_input_check.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.preprocessing.input_check import WrongInput, check_input
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Testing.folders import SHARED

MODELS = {"CT": Preprocessing("CT", "hu_window", -160, 240, "body", 224),
          "MR": Preprocessing("MR", "percentile", 1, 99, "body", 224)}
PADDING = (-2000, -2048, -3024, -32768, -1024, 0)
PARTS, CROPS = (0.5, 0.35, 0.25), 3
PHANTOMS = (7, 1, 2, 3, 4)


def window(low: float, high: float, white: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda hu: ((hu.clip(low, high) - low) / (high - low) * white).astype(np.int32)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "0 to 1": lambda hu: (hu.clip(-1000, 1000) + 1000) / 2000, "-1 to 1": lambda hu: hu.clip(-1000, 1000) / 1000,
    "z-score": lambda hu: (hu - hu.mean()) / hu.std(), "+ 1024": lambda hu: hu + 1024, "+ 1000": lambda hu: hu + 1000,
    "+ 1024, unsigned": lambda hu: (hu + 1024).clip(0), "+ 500": lambda hu: hu + 500, "+ 200": lambda hu: hu + 200,
    "+ 32768": lambda hu: hu + 32768, "- 1024": lambda hu: hu - 1024, "- 500": lambda hu: hu - 500,
    "- 200": lambda hu: hu - 200, "wrapped": lambda hu: hu % 65536, "8 bits": window(-160, 240, 255),
    "8 bits of all": window(-1000, 1000, 255), "12 bits": window(-160, 240, 4095),
    "clipped": lambda hu: hu.clip(-160, 240), "clipped as SAMed": lambda hu: hu.clip(-125, 275),
    "negative": lambda hu: -hu, "inverted": lambda hu: 3071 - hu, "x 10": lambda hu: hu * 10, "x 4": lambda hu: hu * 4,
    "x 2": lambda hu: hu * 2, "x 1/2": lambda hu: hu / 2, "x 1/10": lambda hu: hu / 10,
    "x 1/10, whole": lambda hu: (hu / 10).round(),
}


def outcome(volume: Volume, modality: str) -> str:
    told: list[str] = []
    try:
        check_input(volume, "v", MODELS[modality], told.append)
    except WrongInput as error:
        return f"refused{', looks like ' + error.looks_like if error.looks_like else ''}"
    return "told" if told else "silent"


def crops(volume: Volume, generator: np.random.Generator) -> Iterator[Volume]:
    for part in PARTS:
        for _ in range(CROPS):
            sizes = [int(size * part) for size in volume.array.shape]
            starts = [int(generator.integers(0, max(1, size - length)))
                      for size, length in zip(volume.array.shape, sizes, strict=True)]
            k, j, i = (slice(start, start + length) for start, length in zip(starts, sizes, strict=True))
            yield Volume(volume.array[k, j, i], volume.spacing, volume.origin, volume.direction)


def padded(volume: Volume) -> Iterator[Volume]:
    _, height, width = volume.array.shape
    y, x = np.ogrid[:height, :width]
    outside = ((y - height / 2) / (height / 2)) ** 2 + ((x - width / 2) / (width / 2)) ** 2 > 1
    for value in PADDING:
        array = volume.array.astype(np.int32)
        array[:, outside] = value
        yield volume.with_array(array)


def show(title: str, outcomes: list[str]) -> None:
    counted = ", ".join(f"{count} {name}" for name, count in sorted(Counter(outcomes).items()))
    print(f"{title:40} {len(outcomes):4}  {counted}", flush=True)


def main() -> None:
    found: dict[str, list[Path]] = {name: sorted((SHARED / "data").glob(f"**/{name}.nii.gz"))
                                    for name in ("ct", "mr", "label")}
    cts = [read_volume(path) for path in found["ct"]]
    phantoms = [make_phantom(seed, (2.0, 2.0, 5.0)).ct for seed in PHANTOMS]
    show("CT, as CT", [outcome(ct, "CT") for ct in cts])
    show("phantoms, as CT", [outcome(ct, "CT") for ct in phantoms])
    show("CT, as MR", [outcome(ct, "MR") for ct in cts])
    mrs = [read_volume(path) for path in found["mr"]]
    show("MR, as CT", [outcome(mr, "CT") for mr in mrs])
    show("MR, as MR", [outcome(mr, "MR") for mr in mrs])
    show("label volumes", [outcome(read_volume(path), "CT") for path in found["label"]])
    some = [*cts, phantoms[0]]
    show("padded CTs and a phantom", [outcome(copy, "CT") for ct in some for copy in padded(ct)])
    generator = np.random.default_rng(0)
    show("crops of CTs and a phantom", [outcome(crop, "CT") for ct in some for crop in crops(ct, generator)])
    for name, change in CHANGES.items():
        show(f"changed: {name}", [outcome(ct.with_array(change(ct.array.astype(np.float64))), "CT") for ct in some])


if __name__ == "__main__":
    main()
