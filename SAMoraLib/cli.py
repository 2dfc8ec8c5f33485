"""The command line: ``samora predict | demo | info | merge | import | export``.

Exit codes: 0 everything was done; 1 an input, a checkpoint or an output was refused, with one sentence on standard
error; 2 the command line was wrong; 129, 130 or 143 interrupted by SIGHUP, SIGINT or SIGTERM. torch is imported only by
the commands that compute.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from SAMoraLib import __version__
from SAMoraLib.arguments import (
    gibibytes,
    lps_region,
    organ_box,
    organ_names,
    scale_number,
    seed_number,
    whole_number,
    with_lists_whole,
)
from SAMoraLib.card import Card, read_card
from SAMoraLib.request import PRECISIONS, Options, Request, plan_jobs
from SAMoraLib.system.allocator import keep_freed_memory
from SAMoraLib.system.garbage import without_collector
from SAMoraLib.system.memory import address_space_left
from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.system.parent import end_with_parent
from SAMoraLib.system.processors import look
from SAMoraLib.system.ranks import rank_and_world, share_of
from SAMoraLib.system.signals import exit_code, stopping_at_signals
from SAMoraLib.system.streams import lost_output, one_line, unfailing_streams
from SAMoraLib.variants import EXPERTS
from SAMoraLib.volume.io import LABEL_FORMATS

DONE, REFUSED = 0, 1
LEAST_TO_START = 1 << 30  # bytes of address space: torch, SimpleITK and scipy map nearly as much before any work
CT_ABDOMEN = Path(__file__).with_name("checkpoints") / "ct_abdomen.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code, which says what was done, whatever became of what was printed."""
    with unfailing_streams(), stopping_at_signals():
        options = make_parser().parse_args(with_lists_whole(sys.argv[1:] if arguments is None else arguments))
        options.is_program = arguments is None  # which has the process, and may divide it
        end_with_parent()
        code = _run(options)
        return REFUSED if _output_is_lost() and options.command is _info else code  # which does nothing else


def _output_is_lost() -> bool:
    """Whether it is, which is told."""
    why = lost_output()
    if why:
        print(f"samora: {why}", file=sys.stderr)
    return why is not None


def _run(options: argparse.Namespace) -> int:
    try:
        return int(options.command(options))
    except (ValueError, OSError, ImportError, RuntimeError, MemoryError, SystemError) as error:
        if (why := _why_refused(error)) is None:
            raise
        _refuse(options, why)
        return REFUSED
    except KeyboardInterrupt as stop:
        print("samora: interrupted; volumes that were finished are written, the others are not.", file=sys.stderr)
        return exit_code(stop)


def _why_refused(error: Exception) -> str | None:
    """One sentence for whoever asked; None for a fault of ours."""
    if is_out_of_memory(error):
        return "There is not enough memory; close other programs, or allow this one more where a limit is set to it."
    if isinstance(error, ImportError):
        return (f"The Python package '{error.name}' is missing or damaged; install it, in 3D Slicer with the module's "
                "setup, elsewhere with pip.")
    return str(error) if isinstance(error, (ValueError, OSError)) else None


def _refuse(options: argparse.Namespace, message: str) -> None:
    print(f"samora: {one_line(message)}", file=sys.stderr)
    if options.command is _predict and options.json:
        print(json.dumps({"event": "error", "volume": None, "message": message}), flush=True)


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(prog="samora", description="Segment the organs of CT and MR volumes. Research "
                                     "use only, not a medical device.")
    vars(parser)["color"] = False  # Python 3.14 would colour its help, and the streams spell escape sequences out
    parser.add_argument("--version", action="version", version=f"samora {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_demo(commands)
    _add_info(commands)
    _add_merge(commands)
    _add_import(commands)
    _add_export(commands)
    return parser


def _add_predict(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("predict", help="segment volumes with a checkpoint")
    parser.add_argument("inputs", nargs="*", type=Path, metavar="VOLUME",
                        help="NIfTI, NRRD or MHA file, or a folder with one DICOM series")
    parser.add_argument("--model", type=Path, help="checkpoint, .safetensors (default: the CT abdomen model in the "
                        "package)")
    parser.add_argument("--request", type=Path, metavar="FILE", help="volumes, model and all options but --resume, "
                        "--threads and --json from a JSON file, in place of the command line")
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoint leaves them out and they are not "
                        "beside it")
    parser.add_argument("--output", type=Path, default=Path(), help="folder for the label volumes, or for a single "
                        "input the file to write (default: the current folder)")
    parser.add_argument("--format", choices=LABEL_FORMATS, default=LABEL_FORMATS[0],
                        help="of files in an output folder (default: %(default)s)")
    parser.add_argument("--organs", type=organ_names, help="only these, e.g. liver,spleen (default: all that the "
                        "model knows)")
    parser.add_argument("--region", type=lps_region, metavar="XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX",
                        help="only inside this box, mm in LPS; write --region=-50,50,... when it starts with a minus")
    parser.add_argument("--box", type=organ_box, action="append", default=[], dest="boxes",
                        metavar="ORGAN=XMIN,XMAX,YMIN,YMAX,ZMIN,ZMAX", help="where an organ is to be found, mm in LPS, "
                        "for models that are prompted with boxes; once per organ")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    parser.add_argument("--batch-size", type=whole_number, default=8, help="slices at once, less where memory is short "
                        "(default: %(default)s)")
    parser.add_argument("--skim", type=whole_number, default=1, metavar="N", help="look at every Nth slice first, then "
                        "at those next to one that shows an organ; faster on long volumes, and may miss what is "
                        "thinner (default: look at all)")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0], help="half: 16 bits; "
                        "int8: 8 bits, on a CPU; faster, and a few voxels differ (default: %(default)s)")
    parser.add_argument("--max-memory", type=gibibytes, metavar="GIB", help="the most that the program may take "
                        "(default: what is free)")
    parser.add_argument("--threads", type=whole_number, metavar="N", help="as many at once on the CPU (default: as "
                        "there are free processors, unless OMP_NUM_THREADS says how many)")
    parser.add_argument("--assume-hu", action="store_true", help="take the values for HU, also where they do not look "
                        "like it")
    parser.add_argument("--resume", action="store_true", help="leave out volumes whose result, a whole label "
                        "volume, is there already, and those that another run with --resume is busy with")
    parser.add_argument("--json", action="store_true", help="progress and results as JSON lines on standard output")
    parser.set_defaults(command=_predict, wrong_use=parser.error)


def _predict(options: argparse.Namespace) -> int:
    wrong = options.inputs or options.model if options.request else not options.inputs
    if wrong:
        options.wrong_use("give either volumes, or --request")
    if len(dict(options.boxes)) < len(options.boxes):
        options.wrong_use("give one --box per organ")
    request = Request.read(options.request) if options.request else _request(options)
    jobs = share_of(request.jobs, *rank_and_world())
    if options.resume:
        from SAMoraLib.volume.label_file import is_label_volume

        jobs = [job for job in jobs if not is_label_volume(job.output)]
    if not jobs:
        print("Nothing is left to do for this process.", file=sys.stderr)
        return DONE
    request = replace(request, jobs=tuple(jobs))
    from SAMoraLib.inference.restart import is_worth_it, predict_and_restart

    if not (options.is_program and is_worth_it(request)):
        return REFUSED if _compute(options.resume, options.threads, request, options.json) else DONE
    predict = partial(_compute_and_tell, options.resume, options.threads)
    return REFUSED if predict_and_restart(predict, request, options.json) else DONE


def _compute(resume: bool, threads: int | None, request: Request, as_json: bool, *tell: Callable[[Any], None]) -> int:
    began = look()
    start_computing()  # after the request is found good: torch takes seconds
    from SAMoraLib.inference.predict_files import predict_files
    from SAMoraLib.inference.threads import FreeThreads

    return predict_files(request, as_json, resume, FreeThreads(threads, since=began), *tell)


def _compute_and_tell(resume: bool, threads: int | None, request: Request, as_json: bool,
                      tell: Callable[[Any], None]) -> int:
    """In a process of its own, which prints by itself."""
    refused = _compute(resume, threads, request, as_json, tell)
    _output_is_lost()
    return refused


def start_computing() -> None:
    """What a program may do that has the process to itself.

    Raises:
        MemoryError: there is no room for the libraries, of which some would end the process, and some try for ever.
    """
    if (left := address_space_left()) is not None and left < LEAST_TO_START:
        raise MemoryError
    keep_freed_memory()
    os.environ.setdefault("TORCH_DEVICE_BACKEND_AUTOLOAD", "0")  # else it searches all packages for devices
    with without_collector():
        from SAMoraLib.packages.modeling_alone import import_modeling_alone

        import_modeling_alone()
        import SimpleITK as sitk

        import SAMoraLib.checkpoint
        import SAMoraLib.inference.predict_files  # noqa: F401
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what is wrong with a file is said by us, in one sentence


def _request(options: argparse.Namespace) -> Request:
    jobs = plan_jobs(options.inputs, options.output, options.format, options.region, dict(options.boxes))
    how = Options(options.organs, options.device, options.batch_size, options.skim, options.max_memory,
                  options.precision, options.assume_hu)
    return Request(jobs, options.model or CT_ABDOMEN, options.base, how)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="segment a synthetic abdomen with the checkpoint in the package")
    parser.add_argument("--seed", type=seed_number, default=7, help="of the phantom (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="end with one JSON line")
    parser.set_defaults(command=_demo)


def _demo(options: argparse.Namespace) -> int:
    start_computing()
    from SAMoraLib.demo.demo import run_demo

    run_demo(options.seed, options.output, as_json=options.json)
    return DONE


def _add_info(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("info", help="print what a checkpoint says of itself")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--json", action="store_true", help="the whole card as JSON")
    parser.set_defaults(command=_info)


def _info(options: argparse.Namespace) -> int:
    card = read_card(options.checkpoint)
    print(json.dumps(card.to_json(), indent=2) if options.json else describe(card))
    return DONE


def describe(card: Card) -> str:
    """A card in lines for people."""
    variant = card.variant
    lines = {
        "name": card.name,
        "kind": card.kind,
        "variant": f"{variant.name} on {variant.encoder}, rank {variant.rank}" if variant else "",
        "slices": f"{card.image_size} x {card.image_size}",
        "organs": ", ".join(card.labels.names) if card.labels else "",
        "modality": card.preprocessing.modality if card.preprocessing else "",
        "orientation": card.preprocessing.orientation if card.preprocessing else "",
        "base": f"{card.base['name']} (sha256 {card.base['sha256'][:12]})" if card.base else "in the file",
        "training": _listed(card.training),
        "metrics": _listed(card.metrics),
        "licence": card.licence,
        "description": card.description,
    }
    return "\n".join(f"{name:12} {one_line(str(value))}" for name, value in lines.items() if value)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in values.items())


def _add_merge(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("merge", help="write a self-contained copy of a checkpoint")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="the file to write")
    parser.add_argument("--base", type=Path, help="base weights, if they are not beside the checkpoint")
    parser.add_argument("--half", action="store_true", help="store float16, half the size")
    parser.set_defaults(command=_merge)


def _merge(options: argparse.Namespace) -> int:
    from SAMoraLib.checkpoint import merge

    merge(options.checkpoint, options.output, options.base, options.half)
    print(one_line(str(options.output)))
    return DONE


def _add_import(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("import", help="make a checkpoint of a file that SAMed, H-SAM or MA-SAM published")
    parser.add_argument("file", type=Path, metavar="FILE", help=".pth or .safetensors; recognised by its tensors")
    parser.add_argument("--base", type=Path, help="SAM's own weights that it was made from, e.g. sam_vit_b_01ec64.pth")
    parser.add_argument("--output", type=Path, metavar="X.safetensors", help="the file to write (default: "
                        "FILE_samora.safetensors, beside FILE)")
    parser.add_argument("--labels", metavar="NAME", help="label set, e.g. synapse, btcv12, prostate (default: the "
                        "one that the system's authors trained with, or class_1 ... class_n)")
    parser.add_argument("--image-size", type=whole_number, metavar="PIXELS", help="side of the slices, where the file "
                        "does not say (default: that of the system's code)")
    parser.add_argument("--expert", choices=EXPERTS, help="which expert to take from a file of SAMora's released code")
    parser.add_argument("--fact-scale", type=scale_number, metavar="S", help="FacT's s of an MA-SAM that was trained "
                        "with another one than 1")
    parser.add_argument("--json", action="store_true", help="what was recognised as one JSON line")
    parser.set_defaults(command=_import)


def _import(options: argparse.Namespace) -> int:
    from SAMoraLib.exchange.convert import check_import, import_published, read_published

    output = options.output or options.file.with_name(f"{options.file.stem}_samora.safetensors")
    check_import(output, options.file, options.base)
    published = read_published(options.file, options.labels, options.image_size, expert=options.expert,
                               fact_scale=options.fact_scale)
    _report(published.report(), options.json)
    import_published(published, options.base, output)
    if not options.json:
        print(one_line(str(output)))
    return DONE


def _report(found: dict[str, Any], as_json: bool) -> None:
    """What a file was recognised as, in lines for people or as one for programs."""
    if as_json:
        print(json.dumps(found), flush=True)
        return
    for name, value in found.items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else value
        print(f"{name.replace('_', ' '):16} {'none' if text is None else one_line(str(text))}")


def _add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("export", help="write a checkpoint as a file that the published code reads")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("output", type=Path, metavar="OUT", help="the file to write, .pth or .safetensors")
    parser.add_argument("--format", required=True, choices=("samed", "samed_s", "h_sam", "ma_sam", "sam_lora"),
                        help="whose")
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoint leaves some of these tensors out "
                        "and they are not beside it")
    parser.set_defaults(command=_export)


def _export(options: argparse.Namespace) -> int:
    from SAMoraLib.exchange.convert import export_checkpoint, stored_types, told_on_export

    tensors = export_checkpoint(options.checkpoint, options.format, options.output, options.base)
    for sentence in told_on_export(options.checkpoint, options.format):
        print(f"samora: {one_line(sentence)}", file=sys.stderr)
    print(f"{one_line(str(options.output))}: {len(tensors)} tensors of {', '.join(stored_types(tensors))}")
    return DONE
