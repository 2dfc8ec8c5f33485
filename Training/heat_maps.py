"""What models look at, side by side: the heat maps of figure 5 (SAMed beside SAMora).

    python -m Training.heat_maps VOLUME samed=A.safetensors samora=B.safetensors --output heat.png [--slice 40]

Red is where an answer rests on, blue where it does not. Without ``--slice`` it is the slice on which the first model
finds most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.preprocessing.slices import prepare_volume
from SAMoraLib.system.files import atomic_write
from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume.io import read_volume
from Training.reports.relevance import relevance
from Training.settings.program import program

INCHES = 3.0


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.heat_maps", description="What models look at.")
    parser.add_argument("volume", type=Path)
    parser.add_argument("models", nargs="+", metavar="NAME=CHECKPOINT")
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoints leave them out")
    parser.add_argument("--slice", type=int, help="an axial slice, counted from the patient's feet")
    parser.add_argument("--output", type=Path, required=True, help="a PNG")
    options = parser.parse_args(arguments)
    volume = read_volume(options.volume)
    predictors = {name: _predictor(path, options.base) for name, path in _named(options.models).items()}
    number = options.slice
    if number is None:
        number = slice_with_most(next(iter(predictors.values())), volume)
    draw(options.output, {name: picture(predictor, volume, number) for name, predictor in predictors.items()}, number)


def _named(models: Sequence[str]) -> dict[str, Path]:
    """NAME=CHECKPOINT, or the file's own name.

    Raises:
        ValueError: two have one name.
    """
    found: dict[str, Path] = {}
    for model in models:
        name, _, path = model.rpartition("=")
        name = name or Path(path).stem
        if name in found:
            raise ValueError(f"Two models are called '{name}'; give each a name of its own, as NAME=CHECKPOINT.")
        found[name] = Path(path)
    return found


def _predictor(checkpoint: Path, base: Path | None) -> Predictor:
    model, card = load_model(checkpoint, base=base)
    predictor = Predictor(model, card)
    if predictor.variant.sees != "slices":
        raise ValueError(f"'{predictor.variant.name}' does not look at single slices; give a checkpoint that does, "
                         "such as samed's or samora's.")
    return predictor


def slice_with_most(predictor: Predictor, volume: Volume) -> int:
    """The axial slice on which a model finds most."""
    labels = to_canonical(predictor.predict(volume))[0].array
    return int((labels > 0).sum(axis=(1, 2)).argmax())


def picture(predictor: Predictor, volume: Volume, number: int) -> tuple[np.ndarray, np.ndarray]:
    """What a model sees of slice ``number``, (S, S) in [0, 1], and where its answer rests.

    Raises:
        ValueError: there is no such slice.
    """
    prepared = prepare_volume(volume, predictor.preprocessing)
    if not 0 <= number < len(prepared.array):
        raise ValueError(f"There is no slice {number}; choose from 0 to {len(prepared.array) - 1}.")
    image = prepared.slices_of(np.array([number]))
    heat = relevance(predictor.model, torch.from_numpy(image))
    return image[0, image.shape[1] // 2], heat[0].numpy()


def draw(path: Path, pictures: dict[str, tuple[np.ndarray, np.ndarray]], number: int) -> None:
    """Write a PNG: the slice, and each model's heat map over it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(INCHES * (1 + len(pictures)), INCHES + 0.3), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    first, *others = figure.subplots(1, 1 + len(pictures), squeeze=False)[0]
    first.imshow(next(iter(pictures.values()))[0], cmap="gray", vmin=0, vmax=1)
    first.set_title(f"slice {number}", fontsize=10)
    for axis, (name, (image, heat)) in zip(others, pictures.items(), strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.imshow(heat, cmap="jet", alpha=0.45, vmin=0, vmax=1)
        axis.set_title(name, fontsize=10)
    for axis in (first, *others):
        axis.set_axis_off()
    with atomic_write(path) as unfinished:
        figure.savefig(unfinished, format="png")


if __name__ == "__main__":
    main()
