"""Where each expert of a model alone is right: the complementarity of figure 6 (SAMora, supplement B.4).

    python -m Training.complementarity --checkpoint C --manifest M --case CASE [--base B] [--picture PNG] [--json]

The model segments the case whole, and with each of its experts alone. A voxel is right where its organ is the
reference's; those count that the reference or the whole model gives an organ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.variants import EXPERTS
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume
from Training.data.manifest import read_manifest, relabel
from Training.evaluate import common_organs
from Training.reports.expert_picture import draw_experts
from Training.reports.expert_removal import without_experts
from Training.settings.program import program

WHOLE = "fused"


def segment_with_each(predictor: Predictor, volume: Volume) -> dict[str, np.ndarray]:
    """The labels of the whole model, and with each expert alone.

    Raises:
        ValueError: the model has no experts.
    """
    variant = predictor.variant
    if variant.fusion is None:
        raise ValueError(f"'{variant.name}' has no experts; give a checkpoint of samora, h_samora or samora_2.")
    found = {WHOLE: predictor.predict(volume).array}
    for expert in EXPERTS:
        with without_experts(predictor.model, [other for other in EXPERTS if other != expert]):
            found[expert] = predictor.predict(volume).array
    return found


def shares(found: Mapping[str, np.ndarray], reference: np.ndarray) -> dict[str, float]:
    """Of the voxels with an organ: which share is right with the whole model, with each expert alone, with exactly one
    of them, with all and with none.
    """
    counts = (reference > 0) | (found[WHOLE] > 0)
    right = {name: (labels == reference)[counts] for name, labels in found.items()}
    experts = np.stack([right[name] for name in EXPERTS])
    one = experts.sum(axis=0) == 1
    right |= {f"only {name}": right[name] & one for name in EXPERTS}
    right |= {"all": experts.all(axis=0), "none": ~experts.any(axis=0)}
    return {name: float(values.mean()) if values.size else 0.0 for name, values in right.items()}


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.complementarity",
                                     description="Where each expert of a model alone is right.")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--case", required=True, help="of the manifest, with a label")
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoint leaves them out")
    parser.add_argument("--picture", type=Path, help="a PNG of the slice with most organs")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of a table")
    options = parser.parse_args(arguments)
    model, card = load_model(options.checkpoint, base=options.base)
    manifest = read_manifest(options.manifest)
    case = manifest.by_id(options.case)
    predictor = Predictor(model, card)
    organs = common_organs(manifest, predictor.labels)
    volume = read_volume(manifest.image_path(case))
    reference = relabel(read_volume(manifest.label_path(case)).array, manifest.label_map)
    reference = relabel(reference, {value: value for _, value in organs.values()})
    found = {name: relabel(labels, dict(organs.values()))
             for name, labels in segment_with_each(predictor, volume).items()}
    told = shares(found, reference)
    if options.picture:
        draw_experts(options.picture, volume, found, reference)
    table = ["| right | share |", "|---|---|", *(f"| {name} | {share:.2%} |" for name, share in told.items())]
    print(json.dumps(told) if options.json else "\n".join(table))


if __name__ == "__main__":
    main()
