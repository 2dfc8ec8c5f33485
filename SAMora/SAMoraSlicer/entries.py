"""What lies in a folder and below it: volumes, also behind links, and what is no volume that can be taken, and why.

Nothing but plain files is ever opened, for a pipe would be waited for for ever.
"""

from __future__ import annotations

import errno
import re
import stat
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import R_OK, access
from pathlib import Path
from typing import Any

from SAMoraLib.system.places import identity
from SAMoraLib.system.untrusted_json import parse_json, read_json
from SAMoraLib.volume.dicom_header import INDEX, looks_like_dicom
from SAMoraLib.volume.io import LABEL_FORMATS, READABLE
from SAMoraLib.volume.text_header import META, NRRD, voxel_files

SEGMENTATION = ".seg.nrrd"  # results, of this program or of others: no image
MANIFEST, JOURNAL = "manifest.json", "manifest.jsonl"  # of a batch, whose results are no inputs
DICOM_ENDINGS = (".dcm", ".ima", ".dicom")
# Volumes, or what volumes are packed in, that are not read: said, because whoever put them there expects a result.
UNREAD = (".img", ".hdr", ".nia", ".mgz", ".mgh", ".mnc", ".minc", ".par", ".rec", ".brik", ".head", ".mif", ".mih",
          ".ecat", ".vti", ".vtk", ".gipl", ".tif", ".tiff", ".npy", ".npz", ".h5", ".hdf5", ".b2nd", ".raw",
          ".zraw", ".zip", ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".7z", ".rar", ".iso")
UNREAD_FOLDERS = (".zarr", ".n5")
PACKED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".lz", ".lzma", ".z", ".br")
# Slices are often called by a number alone, as "IM0001", "CT.1.2.840.1" or "00012".
NUMBERED = re.compile(r"([A-Za-z]{1,8}[-_.]?)?\d[\d._-]*")
MANIFEST_BYTES = 256 << 20  # of a hundred thousand volumes
OTHER_KIND = re.compile(r"\.[A-Za-z]{1,5}\d?")  # the ending of a file, where a folder's or a slice's name has none
ODD = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}


@dataclass(frozen=True)
class LeftOut:
    """An entry that is not segmented.

    Attributes:
        reason: a sentence.
        is_failure: whether a volume, or a folder that may hold some, could not be taken; else it is of a format that is
            not read, or a second way to a folder.
        is_folder: whether it is a folder or may be one: whatever was looked for may lie in it.
    """

    path: Path
    reason: str
    is_failure: bool = True
    is_folder: bool = False


Found = Path | LeftOut


@dataclass(frozen=True)
class _Entry:
    """One name in a folder: what it leads to (as in ``st_mode``), or why that is not known."""

    path: Path
    kind: int = 0
    fault: str = ""


def volumes_below(folder: Path, output: Path) -> Iterator[Found]:
    """Volume files and folders of DICOM slices, a folder's own before those of its sub-folders, linked folders last:
    what is there twice keeps its own name.

    Hidden entries, segmentations and what batches have written are no volumes.

    Args:
        output: a folder whose contents are results, also if links lead there.
    """
    output, seen, results = output.resolve(), {identity(folder)}, set[Path]()
    around = {identity(parent) for parent in folder.resolve().parents}
    own, linked = [folder], deque[Path]()
    while own or linked:
        here = own.pop() if own else linked.popleft()
        if here != folder:
            if _is_in(here, output, folder):
                continue
            if (found := identity(here)) in seen | around:
                yield _known(here, found in around)
                continue
            seen.add(found)
        try:
            results |= _results(here)
            entries = [_entry(path) for path in sorted(here.iterdir()) if not _hidden(path.name)]
        except OSError as error:
            yield LeftOut(here, f"The folder '{here}' cannot be read ({error.strerror}).", is_folder=True)
            continue
        folders = [entry.path for entry in entries if entry.kind == stat.S_IFDIR]
        unread = [path for path in folders if path.name.lower().endswith(UNREAD_FOLDERS)]
        folders = [path for path in folders if path not in unread]
        yield from _unread(unread)
        yield from _volumes_in(here, [entry for entry in entries
                                      if entry.kind != stat.S_IFDIR and entry.path not in results])
        own += reversed([path for path in folders if not path.is_symlink()])
        linked += [path for path in folders if path.is_symlink()]


def result_path(output: Path, name: str, ending: str) -> Path:
    """Where the result of the case ``name`` lies in a batch's output folder."""
    return output / f"{name}_segmentation{ending}"


def _is_in(here: Path, output: Path, folder: Path) -> bool:
    """Whether a folder holds results: it is the output folder or lies in it, though the whole input may do so too."""
    place = here.resolve()
    return place == output or (output in place.parents and output not in folder.resolve().parents)


def _known(folder: Path, is_around: bool) -> LeftOut:
    why = "holds the input folder" if is_around else "was looked through already by another name"
    return LeftOut(folder, f"'{folder}' leads to a folder that {why}.", is_failure=False, is_folder=True)


def _hidden(name: str) -> bool:
    return name.startswith(".")  # also "._ct.nii.gz", which macOS leaves on other systems' disks


def _entry(path: Path) -> _Entry:
    try:
        return _Entry(path, stat.S_IFMT(path.stat().st_mode))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return _Entry(path, fault="a link to nothing")
        if error.errno == errno.ELOOP:
            return _Entry(path, fault="a link in a circle")
        return _Entry(path, fault=f"out of reach ({error.strerror})")


def _results(folder: Path) -> set[Path]:
    """What a batch has written into a folder and below it, where its manifest lies there."""
    ending, names = "", list[Any]()
    for record in _records(folder):
        run, cases = record.get("run"), record.get("cases")
        if isinstance(run, dict) and run.get("format") in LABEL_FORMATS:
            ending = run["format"]
        names += [record.get("name"), *(cases if isinstance(cases, dict) else ())]
    return {result_path(folder, name, ending) for name in names if ending and isinstance(name, str)}


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    """What a batch has noted in a folder; nothing of another program's files."""
    try:
        content = read_json(folder / MANIFEST, MANIFEST_BYTES)
    except (OSError, ValueError):
        content = None
    if isinstance(content, dict):
        yield content
    with suppress(OSError):
        yield from journal_entries(folder / JOURNAL)


def journal_entries(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a batch's journal, one after the other; one that was cut short is none.

    Raises:
        OSError: it cannot be opened.
    """
    if not path.is_file():  # a pipe would be waited for
        return
    with path.open("rb") as file:
        while line := file.readline(MANIFEST_BYTES):
            try:
                entry = parse_json(line, MANIFEST_BYTES)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry


def _volumes_in(here: Path, entries: Sequence[_Entry]) -> Iterator[Found]:
    """The volume files of one folder, the folder itself if it holds slices, and what can be neither."""
    files = [entry.path for entry in entries if entry.kind == stat.S_IFREG]
    odd = [entry for entry in entries if entry.kind != stat.S_IFREG]
    for entry in entries:
        if _is_volume(entry.path.name):
            yield _checked(entry)
    voxels = {path for file in files if _is_volume(file.name) for path in _voxels(file)}
    others = [path for path in files if not path.name.lower().endswith(READABLE) and path not in voxels]
    odd = [entry for entry in odd if not _is_volume(entry.path.name)]
    slice_file, unreadable = _first_slice(others)
    lost = [entry for entry in odd if entry.fault and slice_file and _ending(entry.path) == _ending(slice_file)]
    yield from _unread([path for path in others if _is_unread(path.name)
                        and not (slice_file and _ending(path) == _ending(slice_file))])
    yield from (_odd(group) for group in _grouped([entry for entry in odd if entry not in lost]))
    if lost:
        yield LeftOut(here, f"The DICOM series in '{here}' is incomplete: {_named([entry.path for entry in lost])} "
                      "cannot be read; restore what the links point to, or copy the series again.")
    elif slice_file:
        yield here
    elif not unreadable and (ruined := _ruined(others)):
        yield LeftOut(here, f"{_named(ruined)} {_is_or_are(ruined)} called as slices of a DICOM series and "
                      f"{_is_or_are(ruined)} no DICOM, which may be damage; copy the series again.")
    yield from unreadable


def _is_volume(name: str) -> bool:
    return name.lower().endswith(READABLE) and not name.lower().endswith(SEGMENTATION)


def _is_unread(name: str) -> bool:
    name = name.lower()
    inner = name[:name.rindex(".")] if name.endswith(PACKED) else name
    if inner == name:
        return name.endswith(UNREAD)
    return inner.endswith((*UNREAD, *READABLE, *DICOM_ENDINGS)) or NUMBERED.fullmatch(inner) is not None


def _checked(entry: _Entry) -> Found:
    """A file that can be opened, or why it cannot."""
    path = entry.path
    if entry.kind != stat.S_IFREG:
        return _odd([entry])
    if not access(path, R_OK):
        return LeftOut(path, f"'{path}' may not be read; change its permissions.")
    for file in _voxels(path):
        if _kind(file) not in (0, stat.S_IFREG):
            return LeftOut(path, f"'{path}' has its voxels in '{file}', which is no file; give one.")
    return path


def _kind(path: Path) -> int:
    """As in ``st_mode``; 0 where nothing is, or a damaged header names what no file can be called."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except (OSError, ValueError):
        return 0


def _voxels(path: Path) -> list[Path]:
    try:
        return voxel_files(path) if path.name.lower().endswith((*NRRD, *META)) else []
    except (OSError, ValueError):  # said where it is read
        return []


def _first_slice(files: Sequence[Path]) -> tuple[Path | None, list[LeftOut]]:
    """A DICOM slice among files, and what might be one but cannot be read."""
    unreadable = []
    for path in files:
        try:
            if path.name.upper() != INDEX and looks_like_dicom(path):
                return path, []  # the others are the reader's, which refuses a series of which it misses some
        except OSError as error:
            if _may_be_slice(path):
                unreadable.append(LeftOut(path, f"'{path}' cannot be read ({error.strerror})."))
    return None, unreadable


def _ruined(files: Sequence[Path]) -> list[Path]:
    """Of files without a DICOM slice among them those that are called as if they were, and are no texts."""
    called = [path for path in files if _ending(path) in DICOM_ENDINGS]
    numbered = [path for path in files if NUMBERED.fullmatch(path.name)]
    return called or (numbered if len(numbered) > 1 and not _is_text(numbered[0]) else [])


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError:
        return False
    return bool(start) and not re.search(rb"[\0-\x08\x0e-\x1a]", start)


def _may_be_slice(path: Path) -> bool:
    return _ending(path) in ("", *DICOM_ENDINGS)


def _ending(path: Path) -> str:
    """Of a name in lower case; none where what follows the last dot is a number, or a part of a folder's name."""
    ending = path.suffix.lower()
    return ending if OTHER_KIND.fullmatch(ending) or ending in DICOM_ENDINGS else ""


def _grouped(entries: Sequence[_Entry]) -> list[list[_Entry]]:
    """Entries of one kind and ending together, for the lost links of a series are one line; those without an ending
    may be folders, and are named.
    """
    groups: dict[tuple[int, str, str], list[_Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.kind, entry.fault, _ending(entry.path) or entry.path.name), []).append(entry)
    return list(groups.values())


def _odd(entries: Sequence[_Entry]) -> LeftOut:
    """What is no plain file: links that lead nowhere, pipes, sockets, devices."""
    first, paths = entries[0].path, [entry.path for entry in entries]
    is_volume = _is_volume(first.name) or _ending(first) in DICOM_ENDINGS
    if fault := entries[0].fault:
        fault = fault if len(paths) == 1 else fault.replace("a link", "links")
        reason = f"{_named(paths)} {_is_or_are(paths)} {fault}; restore what it points to."
        return LeftOut(first, reason, is_volume or not _ending(first), is_folder=not _ending(first))
    kind = ODD.get(entries[0].kind, "special file")
    return LeftOut(first, f"{_named(paths)} {_is_or_are(paths)} no file (a {kind}); give files.", is_volume)


def _unread(files: Sequence[Path]) -> Iterator[LeftOut]:
    """A line for each ending, however many slices of it there are."""
    endings: dict[str, list[Path]] = {}
    for path in files:
        endings.setdefault(path.suffix.lower(), []).append(path)
    for paths in endings.values():
        yield LeftOut(paths[0], f"{_named(paths)} {_is_or_are(paths)} of a format that is not read; convert it to one "
                      f"of {', '.join(READABLE)}, or to a folder of DICOM slices.", is_failure=False)


def _named(paths: Sequence[Path]) -> str:
    others = f" and {len(paths) - 1} more beside it" if len(paths) > 1 else ""
    return f"'{paths[0]}'{others}"


def _is_or_are(paths: Sequence[Path]) -> str:
    return "is" if len(paths) == 1 else "are"
