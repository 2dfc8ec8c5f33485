"""Draw the unlabelled slices of stage 1 from several data sets.

    python -m Training.sample_unlabelled --manifest runs/amos22/manifest.json --manifest runs/lits/manifest.json
        --count 100000 --output runs/unlabelled/manifest.json

Stage 1 takes the file as its manifest, with --splits '[unlabelled]'.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from Training.data.manifest import read_manifest, write_manifest
from Training.data.unlabelled import sample_slices
from Training.settings.program import program


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training.sample_unlabelled",
                                     description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--manifest", type=Path, action="append", required=True,
                        help="of Training.prepare; again for each data set. Its validation and test cases are held out")
    parser.add_argument("--count", type=int, default=100_000, help="how many slices")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--output", type=Path, required=True, help="the manifest to write")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/fingerprints"), help="folder for fingerprints")
    return parser


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    args = parser().parse_args(arguments)
    manifests = [read_manifest(path) for path in args.manifest]
    sample = sample_slices(manifests, args.count, args.seed, args.output.parent, args.cache)
    write_manifest(sample.manifest, args.output)
    print(f"{args.output}: {args.count} slices of {len(sample.manifest.cases)} volumes; passed over: {sample.copies} "
          f"volumes that are copies, {sample.without_body} slices without a body, {sample.near_duplicates} that show "
          f"almost the same as another")


if __name__ == "__main__":
    main()
