"""Whether a trained model uses its experts: what changes without each, and what their fusion adds by block.

    python -m Training.fusion_report CHECKPOINT [VOLUME...] [--base BASE] [--picture PNG] [--json]

Without a volume the demonstration's phantom of seed 1, a CT, is looked at. What the figures mean stands in
``Training.reports.expert_removal`` and ``Training.reports.fusion_blocks``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from SAMoraLib.checkpoint import load_model
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.volume.io import read_volume
from Training.reports.expert_removal import measure_removals
from Training.reports.fusion_blocks import watched_blocks
from Training.reports.fusion_picture import draw_fusion
from Training.settings.program import program

PHANTOM = 1


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.fusion_report",
                                     description="What a model loses without each of its experts.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("volumes", type=Path, nargs="*", metavar="VOLUME",
                        help="any that samora predict reads (default: a phantom CT)")
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoint leaves them out")
    parser.add_argument("--picture", type=Path, help="a PNG to draw the figures into")
    parser.add_argument("--json", action="store_true", help="print one line of JSON instead of tables")
    options = parser.parse_args(arguments)
    model, card = load_model(options.checkpoint, base=options.base)
    predictor = Predictor(model, card)
    volumes = [read_volume(path) for path in options.volumes] or [make_phantom(PHANTOM).ct]
    report: dict[str, Any] = {"checkpoint": str(options.checkpoint),
                              "volumes": [str(path) for path in options.volumes] or [f"phantom {PHANTOM}"]}
    removed = measure_removals(predictor, volumes, lambda name: print(f"without {name} ...", file=sys.stderr))
    report["removed"] = {name: {"foreground": change.foreground, "logits": change.logits}
                         for name, change in removed.items()}
    if model.variant.fusion is not None and model.variant.fusion.kind == "hl_attn":
        report |= _blocks(predictor, volumes)
    if options.picture:
        draw_fusion(options.picture, report)
    print(json.dumps(report) if options.json else _tables(report))


def _blocks(predictor: Predictor, volumes: Sequence[Any]) -> dict[str, Any]:
    with watched_blocks(predictor.model) as seen:
        for volume in volumes:
            predictor.predict(volume)
    blocks = [{"size": block.size, "window_share": block.window_share, "effective_keys": block.effective_keys}
              for block in seen]
    return {"blocks": blocks, "median_window_share": median(block["window_share"] for block in blocks)}


def _tables(report: Mapping[str, Any]) -> str:
    lines = ["| without | foreground changed | logits changed |", "|---|---|---|"]
    lines += [f"| {name} | {change['foreground']:.2%} | {change['logits']:.3f} |"
              for name, change in report["removed"].items()]
    if "blocks" in report:
        lines += ["", "| block | size | window's share | effective keys |", "|---|---|---|---|"]
        lines += [f"| {number} | {block['size']:.3f} | {block['window_share']:.3f} | {block['effective_keys']:.4f} |"
                  for number, block in enumerate(report["blocks"])]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
