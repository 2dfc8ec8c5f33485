"""How fast everything is, as ratios on this machine: against the segment-anything package and the processor's limit.

    python -m Testing.benchmarks                        # all: half an hour on two cores
    python -m Testing.benchmarks --quick --json         # 224 pixels and a short volume, ends with one line of JSON
    python -m Testing.benchmarks --compare BEFORE.json --volume CT.nii.gz
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from SAMoraLib.card import Card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.device import choose_device
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import build_model
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.allocator import keep_freed_memory
from SAMoraLib.system.files import atomic_write
from SAMoraLib.variants import get_variant
from SAMoraLib.volume.io import write_volume
from Testing.benchmarks.encoders import largest_difference, measure_encoders
from Testing.benchmarks.fitted import fit_decoder
from Testing.benchmarks.models import measure_models
from Testing.benchmarks.peak import limits
from Testing.benchmarks.report import Report, compared, draw, markdown, this_machine
from Testing.benchmarks.volumes import PHANTOM, VolumeRow, measure_growth, measure_volume, phantom_of

GROWTH = (40, 80, 160)  # slices
DIFFERENCE_SIZES = {True: (224,), False: (224, 512)}


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Testing.benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the small set, under three minutes")
    parser.add_argument("--json", action="store_true", help="end with one line of ratios")
    parser.add_argument("--output", type=Path, help="folder for benchmark.json, .md and .png")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier benchmark.json")
    parser.add_argument("--volume", type=Path, action="append", default=[], help="also this volume, e.g. a real CT")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs whose median counts (default: %(default)s)")
    return parser


def whole_volumes(quick: bool, given: Sequence[Path], folder: Path, device: torch.device) -> Iterator[VolumeRow]:
    """The shipped model on given volumes and, unless it has to be quick, on a long one; ViT-B with fitted decoders."""
    for path in given:
        yield measure_volume(path.name.split(".")[0], path, device)
    if quick:
        return
    path, model = folder / "phantom.nii.gz", folder / "vit_b.safetensors"
    write_volume(phantom_of(1000, 512), path)
    yield measure_volume("phantom, a long scan", path, device)
    write_volume(phantom_of(150, 512), path)
    for name in ("samed", "samora"):
        _write_vit_b(model, name)
        yield measure_volume(f"phantom, {name} on ViT-B", path, device, model)


def _write_vit_b(path: Path, name: str) -> None:
    variant, labels = get_variant(name), get_label_set("synapse")
    preprocessing = Preprocessing("CT", "hu_window", -160, 240, "body", 224)
    model = build_model(variant, len(labels), 224)
    fit_decoder(model, make_phantom(*PHANTOM), preprocessing)
    save_model(path, model, Card("model", "fitted", variant, 224, labels, preprocessing))


def measure(options: argparse.Namespace) -> Report:
    """Everything that the command line asks for."""
    device = choose_device(options.device)
    keep_freed_memory()  # as samora's own programs do; the package's encoder gains from it, too
    sizes = (224,) if options.quick else (224, 512, 1024)
    found = limits(device)
    encoders = list(measure_encoders(sizes, options.rounds, device))
    difference = {str(size): largest_difference(size) for size in DIFFERENCE_SIZES[options.quick]}
    models = [] if options.quick else list(measure_models(options.rounds, device))
    with tempfile.TemporaryDirectory() as folder:
        side = 128 if options.quick else 512
        growth, exponent = measure_growth(GROWTH, side, Path(folder), device)
        volumes = [*growth, *whole_volumes(options.quick, options.volume, Path(folder), device)]
    return Report(this_machine(device), found, encoders, difference, volumes, exponent, models)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    report = measure(options)
    print(markdown(report))
    if options.compare:
        print("\n" + compared(report, options.compare))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        texts = {"benchmark.json": json.dumps(report.to_json(), indent=2), "benchmark.md": markdown(report)}
        for name, text in texts.items():
            with atomic_write(options.output / name) as unfinished:
                unfinished.write_text(text + "\n", encoding="utf-8")
        draw(report, options.output / "benchmark.png")
    if options.json:
        print(json.dumps(report.ratios()))


if __name__ == "__main__":
    main()
