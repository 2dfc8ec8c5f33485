"""Dice and HD95 of a checkpoint per organ and case, in the volumes' own grids.

    python -m Training.evaluate --manifest manifest.json --checkpoint C.safetensors --split test --output DIR

Each finished case is kept in DIR/cases, so an interrupted evaluation goes on where it stopped; it counts only for the
same checkpoint, files and metrics.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from SAMoraLib.card import file_sha256
from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.device import choose_device
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Volume
from SAMoraLib.volume_io import read_volume
from Training.data.manifest import LABELLED_SPLITS, Case, Manifest, check_unchanged, read_manifest, relabel
from Training.files import write_json, write_text
from Training.metrics import CONVENTIONS, score

METRICS_VERSION = 1  # raise it when stored cases must be measured again

Predict = Callable[[Volume], Volume]
Result = dict[str, Any]


def evaluate_cases(
    manifest: Manifest, split: str, predict: Predict, predicted: LabelSet | None = None,
    folder: str | Path | None = None, key: str = "", pictures: bool = False,
) -> list[Result]:
    """Predict and measure every case of a split.

    Args:
        predict: image -> labels on the same grid, in the numbers of ``predicted``.
        predicted: the label set of the predictions; the manifest's if None. Organs are matched by name, and those
            that the reference does not label are not measured.
        folder: keeps one JSON (and picture) per case, and takes up finished cases from there.
        key: identifies ``predict``; a stored case of another key is measured again.

    Returns:
        one dictionary per case: "case", "seconds", "organs" -> organ -> volumes in mL, and per convention
        "dice" and "hd95" (None where undefined).

    Raises:
        ValueError: no organ in common, an empty split, or a volume that has changed or cannot be read.
    """
    organs = _common_organs(manifest, predicted or manifest.labels)
    results = []
    for case in tqdm(manifest.of(split), desc=f"evaluating {split}", unit="case", disable=None):
        stored = Path(folder) / f"{case.id}.json" if folder else None
        full_key = _result_key(key, manifest, case, organs)
        result = _stored_result(stored, full_key)
        if result is None or (pictures and stored and not stored.with_suffix(".png").exists()):
            result = {"key": full_key, **evaluate_case(manifest, case, predict, organs,
                                                       stored.with_suffix(".png") if stored and pictures else None)}
            if stored:
                write_json(stored, result)
        results.append(result)
    return results


def _common_organs(manifest: Manifest, predicted: LabelSet) -> dict[str, tuple[int, int]]:
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


def _stored_result(path: Path | None, key: str) -> Result | None:
    if path is None or not path.is_file():
        return None
    result: Result = json.loads(path.read_text(encoding="utf-8"))
    return result if result.get("key") == key else None


def evaluate_case(
    manifest: Manifest, case: Case, predict: Predict, organs: dict[str, tuple[int, int]], picture: Path | None = None
) -> Result:
    """Predict and measure one case; see ``evaluate_cases``."""
    check_unchanged(manifest, case)
    image = read_volume(manifest.image_path(case))
    reference = relabel(read_volume(manifest.label_path(case)).array, manifest.label_map)
    start = time.perf_counter()
    prediction = predict(image).array
    seconds = time.perf_counter() - start
    masks = {organ: (prediction == ours, reference == theirs) for organ, (ours, theirs) in organs.items()}
    if picture:
        from Training.pictures import draw_case

        draw_case(picture, case.id, image, {manifest.labels.by_name(organ): pair for organ, pair in masks.items()})
    return {"case": case.id, "seconds": round(seconds, 3),
            "organs": {organ: measure(*pair, image.spacing) for organ, pair in masks.items()}}


def measure(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, float, float]) -> Result:
    """Volumes (mL) and the scores of every convention for one organ; ``spacing`` in mm along (i, j, k)."""
    per_voxel = math.prod(spacing) / 1000
    scores = {name: asdict(score(prediction, reference, spacing[::-1], name)) for name in CONVENTIONS}
    return {"prediction_ml": float(prediction.sum()) * per_voxel, "reference_ml": float(reference.sum()) * per_voxel,
            **{name: {metric: _or_none(value) for metric, value in both.items()} for name, both in scores.items()}}


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def summarise(results: Sequence[Result]) -> Result:
    """Means and standard deviations per convention: over the cases for each organ, then over the organs.

    Undefined values are left out; "cases" counts the others.
    """
    return {name: {"hd95_unit": rule.unit, **_summarise_convention(results, name)}
            for name, rule in CONVENTIONS.items()}


def _summarise_convention(results: Sequence[Result], convention: str) -> Result:
    organs = {organ: {metric: _statistics([result["organs"][organ][convention][metric] for result in results])
                      for metric in ("dice", "hd95")} for organ in results[0]["organs"]}
    cases = {result["case"]: {metric: _statistics([scores[convention][metric]
                                                   for scores in result["organs"].values()])["mean"]
                              for metric in ("dice", "hd95")} for result in results}
    mean = {metric: _statistics([scores[metric]["mean"] for scores in organs.values()])["mean"]
            for metric in ("dice", "hd95")}
    return {"mean": mean, "organs": organs, "cases": cases}


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    if not defined:
        return {"mean": None, "std": None, "cases": 0}
    return {"mean": float(np.mean(defined)), "std": float(np.std(defined)), "cases": len(defined)}


def to_csv(results: Sequence[Result]) -> str:
    """One row per case and organ; undefined values are empty."""
    columns = [(f"{name}_{metric}", name, metric) for name, rule in CONVENTIONS.items()
               for metric in (("dice", "hd95") if rule.unit else ("dice",))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "organ", "reference_ml", "prediction_ml", *(column for column, _, _ in columns)])
    for result in results:
        for organ, row in result["organs"].items():
            writer.writerow([result["case"], organ, row["reference_ml"], row["prediction_ml"],
                             *(row[name][metric] for _, name, metric in columns)])
    return text.getvalue()


def write_results(folder: str | Path, results: Sequence[Result], about: Result) -> Result:
    """Write results.json and results.csv; returns what results.json holds.

    Args:
        about: what was evaluated (checkpoint, split, ...), put first.
    """
    folder = Path(folder)
    whole = {**about, "summary": summarise(results), "results": list(results)}
    write_json(folder / "results.json", whole)
    write_text(folder / "results.csv", to_csv(results))
    return whole


def table(summary: Result, convention: str = "strict") -> str:
    """The summary of one convention as lines of text: organ, Dice, HD95, both mean and standard deviation."""
    rows = summary[convention]
    unit = rows["hd95_unit"]
    lines = [f"{'organ':<16}{'Dice':>16}{f'HD95 ({unit})':>20}{'cases':>8}"]
    for organ, scores in rows["organs"].items():
        lines.append(f"{organ:<16}{_with_std(scores['dice'], 3):>16}{_with_std(scores['hd95'], 1):>20}"
                     f"{scores['dice']['cases']:>8}")
    mean = rows["mean"]
    return "\n".join([*lines, f"{'mean':<16}{_number(mean['dice'], 3):>16}{_number(mean['hd95'], 1):>20}"])


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _with_std(statistics: Result, digits: int) -> str:
    return f"{_number(statistics['mean'], digits)} +- {_number(statistics['std'], digits)}"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="the base file, if the checkpoint leaves its tensors out")
    parser.add_argument("--split", choices=LABELLED_SPLITS, default="test")
    parser.add_argument("--output", type=Path, required=True, help="folder for results.json, results.csv and cases/")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--pictures", action="store_true", help="also draw some slices of each case with contours")
    return parser


def run(args: argparse.Namespace) -> Result:
    manifest = read_manifest(args.manifest)
    device = choose_device(args.device)
    model, card = load_model(args.checkpoint, device=device, base=args.base)
    predictor = Predictor(model, card, device=device)
    checkpoint = file_sha256(args.checkpoint)
    results = evaluate_cases(manifest, args.split, predictor.predict, predictor.labels, args.output / "cases",
                             checkpoint, args.pictures)
    about = {"checkpoint": args.checkpoint.name, "checkpoint_sha256": checkpoint, "name": card.name,
             "manifest": args.manifest.name, "split": args.split}
    return write_results(args.output, results, about)


def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    try:
        print(table(run(args)["summary"]))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
