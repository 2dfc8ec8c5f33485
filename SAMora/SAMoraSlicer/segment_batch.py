"""Segment a folder of volumes without the panel, in Slicer without a window or in plain Python.

    Slicer --no-splash --no-main-window --python-script .../SAMoraSlicer/segment_batch.py --input A --output B --model C
    python .../SAMoraSlicer/segment_batch.py --input A --output B --model C

Exit codes: 0 every volume is done; 1 some volume failed, or the run broke off; 2 nothing was begun, because an option,
a folder, the model or an organ is wrong, or a package is missing; 130 interrupted, 143 ended by SIGTERM. A run that is
started again goes on where it was.
"""

# Slicer reads this file in the encoding of the system: ASCII only.
from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from SAMoraSlicer.batch import FolderBatch

DONE, FAILED, WRONG_USE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def main(arguments: Sequence[str]) -> int:
    """Run a batch and return the exit code; nothing is raised, because Slicer would go on running without a window."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # as a cluster or a container ends a job
    try:
        _make_importable()
        from SAMoraLib.system.streams import unfailing_streams

        with unfailing_streams():  # no name, reader or full disk behind a line ends the run
            return _run(_options(arguments))
    except SystemExit as stop:  # argparse: --help, or a wrong option; or SIGTERM
        return int(stop.code or DONE)
    except KeyboardInterrupt:
        _say("Interrupted; finished volumes are written, and the next run goes on from there.", sys.stderr)
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return FAILED


def leave(code: int) -> None:
    """End the program: Slicer, which a script does not end by itself, or plain Python."""
    slicer: Any = sys.modules.get("slicer")
    if hasattr(slicer, "app"):
        slicer.util.exit(code)
    else:
        sys.exit(code)


def _make_importable() -> None:
    """Put the folder of SAMora.py on the path, and the clone's, which holds the library."""
    module_folder = Path(__file__).resolve().parents[1]
    if (module_folder.parent / "SAMoraLib/__init__.py").is_file():
        sys.path.insert(0, str(module_folder.parent))
    sys.path.insert(0, str(module_folder))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    from SAMoraLib.arguments import organ_names, whole_number
    from SAMoraLib.request import PRECISIONS
    from SAMoraLib.volume.io import LABEL_FORMATS

    parser = argparse.ArgumentParser(prog="segment_batch.py", description="Segment every volume of a folder. Research "
                                     "use only, not a medical device.")
    parser.add_argument("--input", required=True, type=Path, metavar="DIR",
                        help="folder with NIfTI, NRRD or MHA files and DICOM series, in sub-folders too")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR",
                        help="folder for the label volumes, manifest.json and statistics.csv")
    parser.add_argument("--model", required=True, metavar="NAME",
                        help="model of the panel's list, or a checkpoint file")
    parser.add_argument("--base", type=Path, metavar="FILE", help="base weights, if the checkpoint leaves them out and "
                        "they are not beside it")
    parser.add_argument("--organs", type=organ_names, metavar="A,B", help="only these, e.g. liver,spleen "
                        "(default: all)")
    parser.add_argument("--pattern", default="*", metavar="GLOB",
                        help="only inputs whose path below the folder fits, e.g. '*/ct.nii.gz'")
    parser.add_argument("--format", choices=LABEL_FORMATS, default=LABEL_FORMATS[0],
                        help="of the results (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--batch-size", type=whole_number, default=8, metavar="N",
                        help="slices at once (default: %(default)s)")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="half: 16 bits, faster on "
                        "GPUs and on CPUs with bfloat16; int8: 8 bits, faster on CPUs; a few voxels differ (default: "
                        "%(default)s)")
    parser.add_argument("--skim", type=whole_number, default=1, metavar="N", help="look at every Nth slice first, then "
                        "at those next to one that shows an organ; may miss what is thinner (default: look at all)")
    parser.add_argument("--assume-hu", action="store_true", help="take the values for HU, whatever they look like")
    return parser.parse_args(list(arguments))


def _run(options: argparse.Namespace) -> int:
    from SAMoraLib.request import Options
    from SAMoraLib.system.streams import one_line
    from SAMoraSlicer.batch import FolderBatch
    from SAMoraSlicer.dependencies import missing, sentence

    if lacking := missing():
        _say(f"segment_batch.py: {sentence(lacking)} Install with the panel's setup section, or with pip.", sys.stderr)
        return WRONG_USE
    try:
        how = Options(options.organs, options.device, options.batch_size, options.skim, precision=options.precision,
                      assume_hu=options.assume_hu)
        batch = FolderBatch(options.input, options.output, _model_file(options.model), how, options.base,
                            options.format, options.pattern)
    except (ValueError, OSError) as error:
        _say(f"segment_batch.py: {one_line(str(error))}", sys.stderr)  # with words of a card or a manifest
        return WRONG_USE
    try:
        batch.start()
        _follow(batch)
    finally:
        batch.cancel()  # an interruption or a fault of ours must not leave the child behind
    if None in batch.errors:
        _say(f"segment_batch.py: {batch.errors[None]}", sys.stderr)
        if not batch.begun:
            return WRONG_USE
    return FAILED if batch.errors else DONE


def _follow(batch: FolderBatch) -> None:
    """Go on until nothing is running, and say what happens."""
    from SAMoraSlicer.run import POLL_SECONDS

    said, running = 0, True
    while running:
        running = batch.step()
        for line in batch.notices[said:]:
            _say(line)
        said = len(batch.notices)
        time.sleep(POLL_SECONDS)


def _model_file(name: str) -> Path:
    """The checkpoint of that path, or that of the catalogue's model."""
    from SAMoraSlicer.models import find

    return Path(name) if Path(name).is_file() else find(name).checkpoint


def _say(line: str, stream: TextIO | None = None) -> None:
    print(line, file=stream or sys.stdout, flush=True)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
