"""Dice, HD95 and NSD of a checkpoint per organ and case, in the volumes' own grids.

    python -m Training.evaluate --manifest manifest.json --checkpoint C.safetensors --split test --output DIR

Each finished case is kept in DIR/cases, so an interrupted evaluation goes on where it stopped; it counts only for the
same checkpoint, files and metrics. Under torchrun or srun the processes share the cases; who finds them all measured
writes the table.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from tqdm import tqdm

from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.device import choose_device
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import LabelSet
from SAMoraLib.system.allocator import keep_freed_memory
from SAMoraLib.system.files import file_sha256, write_json
from SAMoraLib.system.ranks import rank_and_world, share_of
from SAMoraLib.system.untrusted_json import read_json
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import read_volume, write_volume
from Training.data.boxes import boxes_around
from Training.data.manifest import LABELLED_SPLITS, Case, Manifest, check_unchanged, read_manifest, relabel
from Training.data.unfinished import sweep
from Training.reports.metrics import CONVENTIONS, OTHER_TOLERANCE, TOLERANCES, score
from Training.reports.results import Result, require_result, table, write_results
from Training.settings.program import program

METRICS_VERSION = 2  # raise it when stored cases must be measured again

Predict = Callable[..., Volume]  # an image, and boxes=... for a model that is prompted with them


def evaluate_cases(
    manifest: Manifest, split: str, predict: Predict, predicted: LabelSet | None = None,
    folder: str | Path | None = None, key: str = "", pictures: bool = False, rank: int = 0, world: int = 1,
    relaxation: float | None = None,
) -> list[Result]:
    """Predict and measure every case of a split, or this process's share of them.

    Args:
        predict: image -> labels on the same grid, in the numbers of ``predicted``.
        predicted: the label set of the predictions; the manifest's if None. Organs are matched by name, and those
            that the reference does not label are not measured.
        folder: keeps one JSON, one segmentation in the manifest's numbers (and one picture) per case, and takes up
            finished cases from there.
        key: identifies ``predict``; a stored case of another key is measured again.
        rank: number of this process among ``world`` that share ``folder``, which they then need.
        relaxation: for a model that is prompted with boxes: each is the reference organ's, each face moved outwards by
            this share of its side (MA-SAM, table 4); None for all other models.

    Returns:
        one dictionary per case: "case", "seconds", "organs" -> organ -> volumes in mL, and per convention "dice",
        "hd95" and "nsd" (None where undefined). Fewer than the split has while other processes are at work.

    Raises:
        ValueError: no organ in common, an empty split, or a volume that has changed or cannot be read.
    """
    organs = common_organs(manifest, predicted or manifest.labels)
    cases = manifest.of(split)
    files = {case.id: Path(folder) / f"{case.id}.json" if folder else None for case in cases}
    if folder:
        sweep(Path(folder))
    keys = {case.id: _result_key(key, manifest, case, organs) for case in cases}
    results: dict[str, Result | None] = {}
    for case in tqdm(share_of(cases, rank, world), desc=f"evaluating {split}", unit="case", disable=None):
        path = files[case.id]
        picture = path.with_suffix(".png") if path and pictures else None
        result = _stored_result(path, keys[case.id], case, organs)
        if result is None or (picture and not picture.exists()):
            segmentation = path and path.with_suffix(".nii.gz")
            result = {"key": keys[case.id],
                      **evaluate_case(manifest, case, predict, organs, segmentation, picture, relaxation)}
            if path:
                write_json(path, result)
        results[case.id] = result
    whole = [results.get(case.id) or _stored_result(files[case.id], keys[case.id], case, organs)
             for case in cases]
    return [result for result in whole if result is not None]


def common_organs(manifest: Manifest, predicted: LabelSet) -> dict[str, tuple[int, int]]:
    """Organ -> its number in the prediction and in the reference."""
    labelled = set(manifest.label_map.values())
    organs = {label.name: (predicted.by_name(label.name).value, label.value) for label in manifest.labels
              if label.value in labelled and label.name in predicted.names}
    if not organs:
        raise ValueError(f"The model segments {', '.join(predicted.names)} but the manifest labels "
                         f"{', '.join(manifest.labels.names)}; evaluate on data that share an organ.")
    return organs


def _result_key(key: str, manifest: Manifest, case: Case, organs: dict[str, tuple[int, int]]) -> str:
    content = [METRICS_VERSION, key, case.image_sha256, case.label_sha256, sorted(manifest.label_map.items()), organs]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _stored_result(path: Path | None, key: str, case: Case, organs: Iterable[str]) -> Result | None:
    """What was measured before; None where that is missing, of another key, or nobody can tell."""
    if path is None or not path.is_file():
        return None
    try:
        result: Result = read_json(path)
        require_result(result, "it")
    except ValueError:
        return None
    measured = result.get("key"), result["case"], sorted(result["organs"])
    return result if measured == (key, case.id, sorted(organs)) else None


def evaluate_case(
    manifest: Manifest, case: Case, predict: Predict, organs: dict[str, tuple[int, int]],
    segmentation: Path | None = None, picture: Path | None = None, relaxation: float | None = None,
) -> Result:
    """Predict and measure one case, and write its segmentation and picture; see ``evaluate_cases``."""
    check_unchanged(manifest, case)
    image = read_volume(manifest.image_path(case))
    reference = relabel(read_volume(manifest.label_path(case)).array, manifest.label_map)
    start = time.perf_counter()
    if relaxation is None:
        found = predict(image).array
    else:
        known = boxes_around(image.with_array(reference), manifest.labels, relaxation)
        boxes = {organ: box for organ, box in known.items() if organ in organs}
        found = predict(image, boxes=boxes).array if boxes else np.zeros_like(reference)
    seconds = time.perf_counter() - start
    prediction = relabel(found, dict(organs.values()))  # in the manifest's numbers
    masks = {organ: (prediction == number, reference == number) for organ, (_, number) in organs.items()}
    if segmentation:
        write_volume(image.with_array(prediction), segmentation)
    if picture:
        from Training.reports.case_picture import draw_case

        draw_case(picture, case.id, image, {manifest.labels.by_name(organ): pair for organ, pair in masks.items()})
    return {"case": case.id, "seconds": round(seconds, 3),
            "organs": {organ: measure(*pair, image.spacing, TOLERANCES.get(organ, OTHER_TOLERANCE))
                       for organ, pair in masks.items()}}


def measure(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float],
    tolerance: float = OTHER_TOLERANCE,
) -> Result:
    """Volumes (mL) and the scores of every convention for one organ.

    Args:
        spacing: mm along (i, j, k).
        tolerance: of the NSD, mm.
    """
    per_voxel = math.prod(spacing) / 1000
    result: Result = {"prediction_ml": float(prediction.sum()) * per_voxel,
                      "reference_ml": float(reference.sum()) * per_voxel, "nsd_tolerance_mm": tolerance}
    for name in CONVENTIONS:
        scores = asdict(score(prediction, reference, spacing[::-1], name, tolerance))
        result[name] = {metric: _or_none(value) for metric, value in scores.items()}
    return result


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="the base file, if the checkpoint leaves its tensors out")
    parser.add_argument("--split", choices=LABELLED_SPLITS, default="test")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json, results.csv and cases/")
    parser.add_argument("--relaxation", type=float, default=0.0, metavar="SHARE",
                        help="for a model that is prompted with boxes: how much larger than the reference they are "
                             "on every side, as a share of it (default: %(default)s, tight)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--pictures", action="store_true", help="also draw some slices of each case with contours")
    return parser


def run(args: argparse.Namespace) -> Result | None:
    """Evaluate as the command line says; None while other processes have not finished their cases."""
    rank, world = rank_and_world()
    manifest = read_manifest(args.manifest)
    device = choose_device(args.device)
    model, card = load_model(args.checkpoint, device=device, base=args.base)
    predictor = Predictor(model, card, device=device)
    checkpoint = file_sha256(args.checkpoint)
    relaxation = args.relaxation if predictor.variant.takes_boxes else None
    key = checkpoint if relaxation is None else f"{checkpoint} boxes {relaxation}"
    results = evaluate_cases(manifest, args.split, predictor.predict, predictor.labels, args.output / "cases",
                             key, args.pictures, rank, world, relaxation)
    if len(results) < len(manifest.of(args.split)):
        return None
    about = {"checkpoint": args.checkpoint.name, "checkpoint_sha256": checkpoint, "name": card.name,
             "manifest": args.manifest.name, "split": args.split,
             **({} if relaxation is None else {"box_relaxation": relaxation})}
    return write_results(args.output, results, about)


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    keep_freed_memory()
    whole = run(args)
    print(table(whole["summary"]) if whole else "This process's cases are measured; the last process writes the table.")


if __name__ == "__main__":
    main()
