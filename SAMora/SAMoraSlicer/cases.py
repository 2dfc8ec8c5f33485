"""The volumes of a folder: files of the known formats, and folders that hold DICOM slices."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from SAMoraLib.volume.io import READABLE

SEGMENTATION = ".seg.nrrd"  # results, of this program or of others: no image
DICOM_MARK, DICOM_MARK_AT = b"DICM", 128  # the preamble of a DICOM file
HEADERS = (".mhd", ".nhdr")
DICOM_INDEX = "DICOMDIR"  # a list of series with the same mark, no slice


@dataclass(frozen=True)
class Case:
    """One volume to segment.

    Attributes:
        name: its path below the input folder without the ending, with "/" on every system.
        input: a file, or a folder of DICOM slices.
        output: the label volume to write.
        fingerprint: number of files, bytes and last change (ns) of the input, to notice that it was exchanged.
    """

    name: str
    input: Path
    output: Path
    fingerprint: tuple[int, int, int]


def find_cases(folder: Path, output: Path, ending: str = SEGMENTATION, pattern: str = "*") -> tuple[Case, ...]:
    """The volumes in ``folder`` and below it, sorted; their results keep the order of folders in ``output``.

    Hidden files, segmentations (``.seg.nrrd``) and what lies in ``output`` are left out.

    Args:
        ending: of the results.
        pattern: keeps inputs whose path below ``folder`` fits, e.g. "*/ct.nii.gz".

    Raises:
        FileNotFoundError: no such folder.
        OSError: a folder may not be read.
        ValueError: no volume is found, two would be written to the same file, a name is not valid text, or ``output``
            is ``folder`` itself.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'; give a folder with volumes or DICOM series.")
    if output.resolve() == folder.resolve():
        raise ValueError(f"Results would mix with the volumes in '{folder}'; choose another output folder.")
    cases = tuple(_case(path, folder, output, ending) for path in _volumes(folder, output.resolve())
                  if fnmatch(path.relative_to(folder).as_posix(), pattern))
    if not cases:
        fitting = "" if pattern == "*" else f" that fits '{pattern}'"
        raise ValueError(f"The folder '{folder}' holds no volume{fitting}; volumes are {', '.join(READABLE)} files and "
                         "folders of DICOM slices.")
    _require_own_outputs(cases)
    return cases


def _volumes(folder: Path, left_out: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_refuse):
        here = Path(place)
        folders[:] = sorted(name for name in folders if not _hidden(name) and (here / name).resolve() != left_out)
        visible = sorted(name for name in files if not _hidden(name))
        yield from (here / name for name in visible if _is_volume(name))
        if _holds_dicom(here, [name for name in visible if not name.lower().endswith(READABLE)]):
            yield here


def _refuse(error: OSError) -> None:
    raise error  # os.walk would leave the folder out without a word


def _hidden(name: str) -> bool:
    return name.startswith(".")  # also "._ct.nii.gz", which macOS leaves on other systems' disks


def _is_volume(name: str) -> bool:
    return name.lower().endswith(READABLE) and not name.lower().endswith(SEGMENTATION)


def _holds_dicom(folder: Path, names: Sequence[str]) -> bool:
    for name in names:
        if name.upper() != DICOM_INDEX:
            with (folder / name).open("rb") as file:
                file.seek(DICOM_MARK_AT)
                if file.read(len(DICOM_MARK)) == DICOM_MARK:
                    return True
    return False


def _case(path: Path, folder: Path, output: Path, ending: str) -> Case:
    name = path.relative_to(folder).as_posix()
    name = folder.resolve().name if name == "." else name[:len(name) - len(_ending(path))]
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"The name of {str(path)!a} is not valid UTF-8; rename it.") from error
    return Case(name, path, output / f"{name}_segmentation{ending}", _fingerprint(path))


def _ending(path: Path) -> str:
    """The volume ending of a file's name as it is written there; "" for a folder."""
    if path.is_dir():
        return ""
    length = max(len(ending) for ending in READABLE if path.name.lower().endswith(ending))
    return path.name[-length:]


def _fingerprint(path: Path) -> tuple[int, int, int]:
    files = [path] if path.is_file() else [file for file in path.iterdir() if file.is_file()]
    if path.suffix.lower() in HEADERS:  # its voxels lie in another file of its name
        files = [file for file in path.parent.iterdir() if file.is_file() and file.stem == path.stem]
    facts = [file.stat() for file in files]
    size = sum(fact.st_size for fact in facts)
    return len(facts), size, max((fact.st_mtime_ns for fact in facts), default=0)


def _require_own_outputs(cases: Sequence[Case]) -> None:
    inputs: dict[str, Path] = {}
    for case in cases:
        key = str(case.output).lower()  # disks of Windows and macOS do not tell capitals apart
        if key in inputs:
            raise ValueError(f"'{inputs[key]}' and '{case.input}' would be written to the same file; rename one, or "
                             "choose with --pattern.")
        inputs[key] = case.input
