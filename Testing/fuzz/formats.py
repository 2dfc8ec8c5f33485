"""The formats: their good files, their changes, their reader, and what it must not accept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from Testing.fuzz import readers, seeds
from Testing.fuzz.binary_headers import change_archive, change_dicom, change_nifti, change_safetensors
from Testing.fuzz.mutate import BYTES, Change, Files, Mutant, append_bomb, make, unpacked
from Testing.fuzz.structures import change_json, change_line, change_yaml
from Testing.fuzz.text_headers import change_meta, change_nrrd


@dataclass(frozen=True)
class Format:
    """Something that the product reads.

    Attributes:
        seeds: makes the good files.
        changes: one to three of them make an input; those that are named twice are taken twice as often.
        read: the product's reader, of the folder with the input's files.
        wrong: what is wrong with what was accepted; "" if nothing.
    """

    name: str
    seeds: Callable[[], list[Files]]
    changes: tuple[Change, ...]
    read: Callable[[Path], object]
    wrong: readers.Check = readers.nothing_wrong

    def mutant(self, seed: int, number: int) -> Mutant:
        """The input of that number."""
        return make(f"{seed} {self.name} {number}", self.seeds(), self.changes)


def _volume(name: str, good: Callable[[], list[Files]], *changes: Change) -> Format:
    read = readers.volume_folder if name.startswith("dicom") else readers.volume_file
    return Format(name, good, (*BYTES, *changes * 3), read, readers.wrong_volume)


def _text(name: str, good: Callable[[], list[Files]], change: Change, read: Callable[[Path], object],
          wrong: readers.Check = readers.nothing_wrong) -> Format:
    return Format(name, good, (*BYTES, *(change,) * 12), read, wrong)


FORMATS = {kind.name: kind for kind in (
    _volume("nifti", seeds.nifti, change_nifti, change_nifti),
    Format("nifti_gz", seeds.nifti_gz, (*BYTES, append_bomb, *map(unpacked, BYTES), *(unpacked(change_nifti),) * 6),
           readers.volume_file, readers.wrong_volume),
    _volume("nrrd", seeds.nrrd, change_nrrd, change_nrrd, append_bomb),
    _volume("nhdr", seeds.nhdr, change_nrrd, change_nrrd, append_bomb),
    _volume("mha", seeds.mha, change_meta, change_meta),
    _volume("mhd", seeds.mhd, change_meta, change_meta),
    _volume("dicom_series", seeds.dicom_series, change_dicom, change_dicom),
    _volume("dicom_frames", seeds.dicom_frames, change_dicom, change_dicom),
    Format("checkpoint", seeds.checkpoint, (*BYTES, *(change_safetensors,) * 12), readers.checkpoint,
           readers.wrong_card),
    Format("card", seeds.card, (*BYTES, *(change_safetensors,) * 12), readers.card, readers.wrong_card),
    Format("pth", seeds.pth, (*BYTES, *(change_archive,) * 12), readers.weights, readers.wrong_weights),
    Format("published", seeds.published, (*BYTES, *(change_archive,) * 12), readers.published, readers.wrong_weights),
    Format("pth_legacy", seeds.pth_legacy, BYTES, readers.weights, readers.wrong_weights),
    _text("request", seeds.request, change_json, readers.request, readers.wrong_request),
    _text("batch_manifest", seeds.batch_manifest, change_json, readers.batch, readers.wrong_batch),
    _text("batch_journal", seeds.batch_journal, change_line, readers.batch, readers.wrong_batch),
    _text("training_manifest", seeds.training_manifest, change_json, readers.training_manifest,
          readers.wrong_training_manifest),
    _text("catalogue", seeds.catalogue, change_json, readers.catalogue, readers.wrong_catalogue),
    _text("results", seeds.results, change_json, readers.results),
    _text("grid", seeds.grid, change_yaml, readers.grid),
    _text("run_configuration", seeds.run_configuration, change_yaml, readers.run_configuration),
    _text("stage_configuration", seeds.stage_configuration, change_yaml, readers.stage_configuration),
)}
