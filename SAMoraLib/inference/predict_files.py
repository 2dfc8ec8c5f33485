"""Segment files: one model load for any number of volumes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from SAMoraLib.card import Card, cards_in, read_card
from SAMoraLib.checkpoint import load_model
from SAMoraLib.inference.device import check_precision, choose_device
from SAMoraLib.inference.fallback import move_within_memory, predict_within_memory
from SAMoraLib.inference.memory import check_reading, fitted_batch
from SAMoraLib.inference.organ_table import organ_table
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.inference.reporter import Reporter
from SAMoraLib.inference.restart import DONE, READING, REFUSED, SEGMENTING, Tell
from SAMoraLib.inference.sharing import in_turn
from SAMoraLib.inference.threads import FreeThreads
from SAMoraLib.labels import LabelSet
from SAMoraLib.preprocessing.input_check import WrongInput, check_input
from SAMoraLib.request import Job, Options, Request, check_outputs
from SAMoraLib.system.allocator import give_back_freed_memory
from SAMoraLib.system.out_of_memory import is_out_of_memory
from SAMoraLib.system.quiet import quiet_libraries
from SAMoraLib.volume import Region, Volume
from SAMoraLib.volume.io import read_volume, write_segmentation


def tell_nobody(told: tuple[int, str]) -> None:
    """Where this process is watched by none that would go on without it."""


def predict_files(request: Request, as_json: bool = False, resume: bool = False, threads: FreeThreads | None = None,
                  tell: Tell = tell_nobody) -> int:
    """Segment every volume; one that is refused does not stop the others.

    Args:
        resume: leave out what is done, also by another run meanwhile.
        threads: changes their number by what is free.
        tell: is given the number of a volume and what is done with it whenever that changes, for whoever outlives
            this process (``SAMoraLib.inference.restart``).

    Returns:
        How many were refused.

    Raises:
        ValueError, FileNotFoundError: before any work, a request that cannot be carried out: model, device, precision
            or organs.
    """
    card = read_card(request.model)
    request = named_as_the_model_does(request, card)
    options = request.options
    if request.base is None and card.base is not None:
        check_outputs(request.jobs, {request.model.with_name(card.base["name"]): "base"})
    device = choose_device(options.device)
    check_precision(options.precision, device)
    model, card = load_model(request.model, base=request.base)
    predictor = Predictor(model, card, batch_size=options.batch_size, skim=options.skim)
    predictor.compute_in(options.precision)
    kept = request.model.parent
    reporter = Reporter(as_json)
    move_within_memory(predictor, device, reporter.notice)
    reporter.event("ready", model=card.name, device=str(predictor.device), volumes=len(request.jobs))
    predictor.between = threads.adapt if threads else lambda: None
    refused = 0
    for number, job in in_turn(request.jobs, reporter.notice) if resume else enumerate(request.jobs):
        predictor.between()
        try:
            _predict_one(predictor, options, job, reporter, partial(_enter, tell, number))
            tell((number, DONE))
            continue
        except WrongInput as error:
            reporter.failure(str(job.input), f"{error}{suggestion(error.looks_like, kept)}")
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            reporter.failure(str(job.input), refusal(error, job, predictor.device.type))
        refused += 1
        tell((number, REFUSED))
    return refused


def named_as_the_model_does(request: Request, card: Card) -> Request:
    """The request with the card's own names of the organs, which people spell in other ways.

    Raises:
        ValueError: an organ that the model does not know, or two boxes for one.
    """
    if card.labels is None:
        return request
    organs = request.options.organs
    options = replace(request.options, organs=organs and card.labels.names_of(organs))
    jobs = tuple(replace(job, boxes=_named_boxes(job, card.labels)) for job in request.jobs)
    return replace(request, jobs=jobs, options=options)


def _named_boxes(job: Job, labels: LabelSet) -> dict[str, Region]:
    boxes = {labels.find(name).name: box for name, box in job.boxes.items()}
    if len(boxes) < len(job.boxes):
        raise ValueError(f"Several boxes are given for one organ ({', '.join(job.boxes)}); give one box per organ.")
    return boxes


def suggestion(modality: str, folder: Path) -> str:
    """Which models in a folder are for a modality, as one more sentence; empty where none is, or it is not known."""
    models = [(card.preprocessing.modality, card.name) for card in cards_in(folder).values()
              if card.kind == "model" and card.preprocessing]
    names = [name for wanted in (modality, "any") for found, name in models if modality and found == wanted]
    return f" For {modality} there is the model '{names[0]}'." if names else ""


def refusal(error: Exception, job: Job, device: str) -> str:
    """Why a volume was not segmented, in one sentence."""
    if is_out_of_memory(error):
        return (f"'{job.input.name}' does not fit into memory, not even slice by slice on the CPU; close other "
                "programs, or crop or resample it.")
    if isinstance(error, RuntimeError):  # torch: a device that failed
        cause = (str(error).splitlines() or ["an unknown error"])[0].rstrip(".")
        way = "choose the CPU as the device" if device != "cpu" else "try again, and if it stays so, report it"
        return f"'{job.input.name}' could not be segmented ({cause}); {way}."
    return str(error)


def _read(path: Path, reporter: Reporter) -> Volume:
    """A volume, of which nobody speaks but the reporter."""
    told: list[str] = []
    give_back_freed_memory()  # of the volume before, or it would count as taken
    try:
        with quiet_libraries():
            return read_volume(path, told.append)
    finally:
        for message in told:
            reporter.notice(message)


def _enter(tell: Tell, number: int, stage: str) -> None:
    tell((number, stage))


def _predict_one(predictor: Predictor, options: Options, job: Job, reporter: Reporter,
                 enter: Callable[[str], None]) -> None:
    started = time.monotonic()
    name = str(job.input)
    enter(READING)
    reporter.progress(name, 0.0, "reading")
    check_reading(job.input, options.max_memory)
    volume = _read(job.input, reporter)
    enter(SEGMENTING)
    check_input(volume, job.input.name, predictor.preprocessing, reporter.notice, options.assume_hu)
    with fitted_batch(predictor, volume, options.max_memory) as fewer:
        if fewer:
            reporter.notice(f"'{job.input.name}' runs with {predictor.batch_size} slices at once, which is what fits "
                            "into memory.")
        segmentation, confidence = predict_within_memory(
            predictor, volume, job, options.organs,
            lambda fraction, stage: reporter.progress(name, fraction, stage), reporter.notice)
    write_segmentation(segmentation, predictor.labels, job.output)
    if not segmentation.array.any():
        reporter.notice(f"Nothing was found in '{job.input.name}': it shows none of the organs looked for, or is not "
                        "what the model was made for.")
    rows = organ_table(segmentation, predictor.labels, volume, options.organs or tuple(job.boxes) or None, confidence)
    reporter.result(name, job.output, rows, time.monotonic() - started)
