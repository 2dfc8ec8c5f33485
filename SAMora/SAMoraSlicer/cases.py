"""The volumes of a folder: files of the known formats, folders of DICOM slices; and what is left out, and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from SAMoraLib.volume.dicom_header import INDEX, looks_like_dicom
from SAMoraLib.volume.io import READABLE
from SAMoraLib.volume.text_header import voxel_files

SEGMENTATION = ".seg.nrrd"  # results, of this program or of others: no image
HEADERS = (".mhd", ".nhdr")
# Volumes, or what volumes are packed in, that are not read: said, because whoever put them there expects a result.
UNREAD = (".img", ".hdr", ".mgz", ".mgh", ".mnc", ".par", ".rec", ".vti", ".vtk", ".gipl", ".tif", ".tiff", ".npy",
          ".npz", ".h5", ".hdf5", ".nii.zst", ".nii.bz2", ".nii.xz", ".nrrd.gz", ".mha.gz", ".zip", ".tar", ".tar.gz",
          ".tgz", ".7z", ".rar")


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


@dataclass(frozen=True)
class LeftOut:
    """An entry that is not segmented.

    Attributes:
        reason: a sentence.
        is_failure: whether a volume, or a folder that may hold some, could not be taken; else it is of a format that is
            not read.
    """

    path: Path
    reason: str
    is_failure: bool = True


@dataclass(frozen=True)
class Survey:
    """What a folder holds.

    Attributes:
        cases: to segment.
        left_out: all else that may have been meant.
    """

    cases: tuple[Case, ...]
    left_out: tuple[LeftOut, ...]


Found = Path | LeftOut


def find_cases(folder: Path, output: Path, ending: str = SEGMENTATION, pattern: str = "*") -> Survey:
    """The volumes in ``folder`` and below it, also behind links; their results keep the order of folders in ``output``.

    Hidden files, segmentations (``.seg.nrrd``) and what lies in ``output`` are no volumes.

    Args:
        ending: of the results.
        pattern: keeps inputs whose path below ``folder`` fits, e.g. "*/ct.nii.gz".

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no volume is found, or ``output`` is ``folder`` itself.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'; give a folder with volumes or DICOM series.")
    if output.resolve() == folder.resolve():
        raise ValueError(f"Results would mix with the volumes in '{folder}'; choose another output folder.")
    cases: list[Case] = []
    left_out: list[LeftOut] = []
    for found in _volumes(folder, output.resolve(), {_identity(folder)}):
        path = found.path if isinstance(found, LeftOut) else found
        if fnmatch(path.relative_to(folder).as_posix(), pattern):
            outcome = found if isinstance(found, LeftOut) else _case(found, folder, output, ending)
            if isinstance(outcome, LeftOut):
                left_out.append(outcome)
            else:
                cases.append(outcome)
    own, others = _with_own_outputs(cases)
    left_out += others
    if not own:
        fitting = "" if pattern == "*" else f" that fits '{pattern}'"
        raise ValueError(f"The folder '{folder}' holds no volume{fitting}; volumes are {', '.join(READABLE)} files and "
                         "folders of DICOM slices." + "".join(f" {entry.reason}" for entry in left_out[:1]))
    return Survey(tuple(own), tuple(left_out))


def _volumes(folder: Path, output: Path, seen: set[tuple[int, int]]) -> Iterator[Found]:
    """Volumes of one folder, then of those in it, linked ones last: what is there twice keeps its own name."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not _hidden(entry.name))
    except OSError as error:
        yield LeftOut(folder, f"The folder '{folder}' cannot be read ({error.strerror}).")
        return
    folders = [entry for entry in entries if entry.is_dir()]
    files = [entry for entry in entries if not entry.is_dir()]
    yield from (_checked(path) for path in files if _is_volume(path.name))
    others = [path for path in files if not path.name.lower().endswith(READABLE)]
    yield from _unread(others)
    yield from _series(folder, others)
    for below in sorted(folders, key=lambda path: (path.is_symlink(), path.name)):
        yield from _below(below, output, seen)


def _below(folder: Path, output: Path, seen: set[tuple[int, int]]) -> Iterator[Found]:
    if folder.resolve() == output:
        return
    if (identity := _identity(folder)) in seen:
        yield LeftOut(folder, f"'{folder}' is a link to a folder that was looked through already.", is_failure=False)
        return
    seen.add(identity)
    yield from _volumes(folder, output, seen)


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino


def _hidden(name: str) -> bool:
    return name.startswith(".")  # also "._ct.nii.gz", which macOS leaves on other systems' disks


def _is_volume(name: str) -> bool:
    return name.lower().endswith(READABLE) and not name.lower().endswith(SEGMENTATION)


def _checked(path: Path) -> Found:
    """A file that can be opened, or why it cannot: nothing else may be, for a FIFO would be waited for for ever."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return LeftOut(path, f"'{path}' is a link to nothing; restore what it points to.")
    if not stat.S_ISREG(mode):
        return LeftOut(path, f"'{path}' is no file (a pipe or a device); give files.")
    if not os.access(path, os.R_OK):
        return LeftOut(path, f"'{path}' may not be read; change its permissions.")
    return path


def _unread(files: Sequence[Path]) -> Iterator[LeftOut]:
    for path in files:
        if path.name.lower().endswith(UNREAD):
            yield LeftOut(path, f"'{path}' is of a format that is not read; convert it to one of "
                          f"{', '.join(READABLE)}, or to a folder of DICOM slices.", is_failure=False)
        elif path.is_symlink() and not path.exists():
            yield LeftOut(path, f"'{path}' is a link to nothing; restore what it points to.", not path.suffix)


def _series(folder: Path, files: Sequence[Path]) -> Iterator[Found]:
    """The folder itself, if it holds DICOM slices."""
    for path in files:
        try:
            if path.name.upper() != INDEX and looks_like_dicom(path):
                yield folder
                return
        except OSError as error:
            if not path.suffix or path.suffix.lower() in (".dcm", ".ima"):
                yield LeftOut(path, f"'{path}' cannot be read ({error.strerror}).")


def _case(path: Path, folder: Path, output: Path, ending: str) -> Case | LeftOut:
    name = path.relative_to(folder).as_posix()
    name = folder.resolve().name if name == "." else name[:len(name) - len(_ending(path))]
    try:
        name.encode()
        return Case(name, path, output / f"{name}_segmentation{ending}", _fingerprint(path))
    except UnicodeEncodeError:
        return LeftOut(path, f"The name of {str(path)!a} is not valid UTF-8; rename it.")
    except OSError as error:
        return LeftOut(path, f"'{path}' cannot be read ({error.strerror}).")


def _ending(path: Path) -> str:
    """The volume ending of a file's name as it is written there; "" for a folder."""
    if path.is_dir():
        return ""
    length = max(len(ending) for ending in READABLE if path.name.lower().endswith(ending))
    return path.name[-length:]


def _fingerprint(path: Path) -> tuple[int, int, int]:
    files = [path] if path.is_file() else list(path.iterdir())
    if path.suffix.lower() in HEADERS:
        files += voxel_files(path)
    facts = [file.stat() for file in files if file.is_file()]
    size = sum(fact.st_size for fact in facts)
    return len(facts), size, max((fact.st_mtime_ns for fact in facts), default=0)


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
