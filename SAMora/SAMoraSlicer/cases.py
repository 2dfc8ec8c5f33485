"""The volumes of a folder as cases: what each is called, where its result goes, and by what an exchange is noticed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from SAMoraLib.volume.io import READABLE
from SAMoraLib.volume.text_header import META, NRRD, voxel_files
from SAMoraSlicer.entries import DICOM_ENDINGS, SEGMENTATION, LeftOut, result_path, volumes_below

Fingerprint = tuple[int, int, int, str]


@dataclass(frozen=True)
class Case:
    """One volume to segment.

    Attributes:
        name: its path below the input folder without the ending, with "/" on every system.
        input: a file, or a folder of DICOM slices.
        output: the label volume to write.
        fingerprint: number of files, bytes and last change (ns) of the input, and a hash of every file's name, bytes
            and change, to notice that it was exchanged.
    """

    name: str
    input: Path
    output: Path
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        cases: to segment.
        left_out: all else that may have been meant.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]


def find_cases(folder: Path, output: Path, ending: str = SEGMENTATION, pattern: str = "*") -> Survey:
    """The volumes in ``folder`` and below it, also behind links; their results keep the order of folders in ``output``.

    Hidden files, segmentations (``.seg.nrrd``), what lies in ``output`` and what other batches have written are no
    volumes.

    Args:
        ending: of the results.
        pattern: keeps inputs whose path below ``folder`` fits, e.g. "*/ct.nii.gz".

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no volume is found, or ``output`` is ``folder`` itself, a file, or called as one.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'; give a folder with volumes or DICOM series.")
    if output.resolve() == folder.resolve():
        raise ValueError(f"Results would mix with the volumes in '{folder}'; choose another output folder.")
    _require_folder(output)
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    for found in volumes_below(folder, output):
        outcome = found if isinstance(found, LeftOut) else _case(found, folder, output, ending)
        path = found.path if isinstance(found, LeftOut) else found
        fits = fnmatch(path.relative_to(folder).as_posix(), pattern)
        if isinstance(outcome, Case) and fits:
            cases.append(outcome)
        elif isinstance(outcome, LeftOut) and (fits or outcome.is_folder):
            left_out.append(outcome)
    own, others = _with_own_outputs(cases)
    left_out += others
    if not own:
        fitting = "" if pattern == "*" else f" that fits '{pattern}'"
        raise ValueError(f"The folder '{folder}' holds no volume{fitting}; volumes are {', '.join(READABLE)} files and "
                         "folders of DICOM slices." + "".join(f" {entry.reason}" for entry in left_out[:1]))
    return Survey(tuple(own), tuple(left_out))


def _require_folder(output: Path) -> None:
    """Refuse what somebody meant as a file's name: a folder of that name would be made."""
    if not output.is_dir() and (output.exists() or output.name.lower().endswith((*READABLE, *DICOM_ENDINGS))):
        raise ValueError(f"'{output}' names a file, and the results of a folder are many; give a folder, or if it is "
                         "to be one, make it first.")


def _case(path: Path, folder: Path, output: Path, ending: str) -> Case | LeftOut:
    name = path.relative_to(folder).as_posix()
    if name == ".":
        name = folder.name if folder.name not in ("", "..") else folder.resolve().name
    elif not path.is_dir():
        name = name[:len(name) - max(len(ending) for ending in READABLE if name.lower().endswith(ending))]
    try:
        return Case(name, path, result_path(output, name, ending), _fingerprint(path))
    except OSError as error:
        return LeftOut(path, f"'{path}' cannot be read ({error.strerror}).")
    except ValueError as error:  # of a header: a sentence
        return LeftOut(path, str(error))


def _fingerprint(path: Path) -> Fingerprint:
    """By all the files with the input's voxels, wherever they lie."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    if path.name.lower().endswith((*NRRD, *META)) and path.is_file():
        files += voxel_files(path)
    facts = [(file.name, file.stat()) for file in files if file.is_file()]
    digest = hashlib.sha256()
    for name, fact in facts:
        digest.update(f"{name}/{fact.st_size}/{fact.st_mtime_ns}/".encode(errors="surrogateescape"))
    size = sum(fact.st_size for _, fact in facts)
    newest = max((fact.st_mtime_ns for _, fact in facts), default=0)
    return len(facts), size, newest, digest.hexdigest()[:16]


def _with_own_outputs(cases: Sequence[Case]) -> tuple[list[Case], list[LeftOut]]:
    """Of cases that would be written to one file the first; the others are left out."""
    first: dict[str, Case] = {}
    others: list[LeftOut] = []
    for case in cases:
        other = first.setdefault(str(case.output).lower(), case)  # Windows and macOS do not tell capitals apart
        if other is not case:
            others.append(LeftOut(case.input, f"'{other.input}' and '{case.input}' would be written to the same file; "
                                  "the first is taken, rename the other, or choose with --pattern."))
    return list(first.values()), others
