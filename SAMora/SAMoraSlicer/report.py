"""Text that people are asked to send: what happened, without the names of patients, accounts and their folders.

What is known to be private (paths, names of nodes) is masked however it is spelt: quoted, escaped, encoded for an
address, in other capitals. Of every other path nothing stays but its number of parts and its ending, save the programs'
own files, by which a fault is found. Where it cannot be told where a path ends, the rest of the line goes with it.
Names of volumes and slices are masked wherever they stand, and what is quoted on one line with a masked folder.
"""

from __future__ import annotations

import getpass
import html
import json
import os
import platform
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import quote, quote_plus

import SAMoraLib
from SAMoraLib.labels import ORGANS
from SAMoraLib.system.streams import one_line
from SAMoraLib.volume.io import READABLE

NAME = "<name>"
PROGRAMS = {"inside": "program", "package": "packages", "source": "path"}
VOLUMES = (*READABLE, ".seg.nrrd", ".dcm", ".ima", ".dicom")
ENDINGS = tuple(sorted((*VOLUMES, ".json", ".safetensors", ".csv", ".raw", ".txt"), key=len, reverse=True))
CODE = r"\.(?:py|pyc|so|pyd|dll|dylib|cxx|cpp|cc|c|cu|hxx|hpp|h)"
SEPARATOR = r"(?:[\\/]+|%2F|%5C)"
START = r"(?:/(?=[^\s/>])|~[\\/]|[A-Za-z]:[\\/]|\\\\(?=[\w.?])|file:|%2F|[A-Za-z]%3A)"
MASKS = "".join(f"(?<!<{word}>)" for word in ("name", *PROGRAMS.values()))
# Before a path: not in the middle of a word, an address or a mask, and no closing tag; but behind an option's letter.
ALONE = rf"(?:(?<![\w/\\%])|(?<=-[A-Za-z])(?<!\w-[A-Za-z])){MASKS}(?!(?<=<)/[\w.:\-]+>)"
INSIDE = rf"(?:[\\/]+[\w.+\-]+)*{CODE}\b"
PACKAGES = rf"{START}(?:[^\s'\"<>|]+[\\/])?(?:site|dist)-packages(?P<package>{INSIDE})"
SOURCE = rf"(?:{START}(?:[\w.+\-]+[\\/]+)*|(?:[\w.+\-]+[\\/]+){{2,}})(?P<source>[\w.+\-]+{CODE})\b"
ENDING = "|".join(map(re.escape, ENDINGS))
# As slices are called; an apostrophe in it is between letters.
FILE = (rf"(?<!\w)(?P<mark>['\"`])(?!{START})(?P<file>(?:(?!(?P=mark))[^\n]|(?<=\w)(?P=mark)(?=\w))+?"
        rf"(?:{ENDING}|\w\.\d+))(?P=mark)")
BARE_FILE = rf"(?<![\w<>.^+\-])(?P<bare>\w[\w.^+\-]*(?:{'|'.join(map(re.escape, VOLUMES))}))(?!\.?\w)"
LETTER = r"[^\s'\"<>|:;,()]"
PART = r"[^\s'\"<>|:;,()\\/]"
DEEP = re.compile(rf"(?<!{LETTER}){PART}+(?:[\\/]{PART}+){{2,}}")
AROUND = re.compile(rf"(?<!{LETTER})(?:{LETTER}|{NAME})*{NAME}(?:{LETTER}|{NAME})*")  # a word with a name in it
QUOTED = re.compile(r"(?<!\w)'((?:[^'\n]|(?<=\w)'(?=\w))+)'(?!\w)")
BESIDE = re.compile(r"^[^\n]*'<(?:name|path of )[^\n]*$", re.MULTILINE)  # a line with a masked folder or file
# Of folders and files everywhere: masked in paths, but no names.
EVERYWHERE = frozenset({
    "home", "users", "root", "data", "temp", "var", "mnt", "media", "volumes", "private", "documents", "desktop",
    "downloads", "input", "output", "image", "images", "label", "labels", "volume", "series", "study", "scan", "scans",
    "result", "results", "segmentation", "segmentations", "patient", "patients", "abdomen", "nifti", "dicom", "model",
    "models", "python", "library", "slicer", "samora", "torch", "cuda", "memory", "error", "file", "files", "local",
    "appdata", "folders", "default", "scene", "camera", "slice", "view", "node", "region", "request", "statistics",
    "manifest", "none", "true", "false", "and", "for", "not", "the", "was", "with", "from", "new", "old", "cpu", "gpu",
    "mri", "pet", "nii", "run", "out", "a", "an", "as", "at", "be", "by", "do", "if", "in", "is", "it", "no", "of",
    "on", "or", "so", "to", "up", "ct", "mr", "pt", "us", "batch", "case", "cases", "code", "command", "cannot",
    "device", "done", "exit", "failed", "fraction", "line", "log", "name", "names", "path", "read", "said", "state",
    "stage", "slices", "system", "version", "waiting", "while", "written",
    *(word for name in ORGANS for word in name.split("_"))})
ASCII = re.compile("[A-Za-z0-9]+")
PLAIN = re.compile(r"[A-Za-z0-9 ._-]+")  # is written in one way, but for blanks in an address
ACCOUNT = ("USER", "LOGNAME", "USERNAME", "USERDOMAIN", "COMPUTERNAME", "HOSTNAME")
PIECE = re.compile(r"[^\W\d_]{2,}|\d{6,}")  # of a name: a word, or a date or number of a patient
SHORTEST_WORD, SHORTEST_NUMBER = 3, 6  # letters; a word of two is a name in scripts that write names so, and in DICOM's


def anonymous(text: str, private: Iterable[str | Path] = ()) -> str:
    """``text`` without what is private.

    Args:
        private: paths, of which every part is masked by itself too, and names; an account's own are known.
    """
    if not text:
        return ""
    private = {item for item in private if str(item)}
    paths = [item for item in private if isinstance(item, Path)]
    given = {item for item in private if isinstance(item, str)}
    parts = {part for path in paths for part in _parts(path)}
    names = {*_account()} | {name for part in given | parts for name in _names(part)}
    folded = text.casefold()
    known = {spelling for name in names for spelling in _spellings_in(name, folded)}
    own = rf"(?:{'|'.join(map(_path_pattern, _program_folders()))})(?P<inside>{INSIDE})"
    programs = rf"{own}|{ALONE}{PACKAGES}|{ALONE}{SOURCE}"
    met = [_path_pattern(path) for path in _met(paths, folded)]
    ends_here = "|".join([_unnamed(programs), *met])  # a path in quotes that is known to end with them
    alternatives = [
        programs,
        *(rf"(?P<known{number}>{path}(?:{SEPARATOR}[^\n]*)?)" for number, path in enumerate(met)),
        rf"(?P<quote>['\"`])(?!(?:{ends_here})(?P=quote))(?P<quoted>{START}[^\n]*)(?P=quote)",
        rf"{ALONE}(?P<plain>{START}[^\s'\"<>|:;,()]+)(?=: [^\n\\/]*$)",
        rf"{ALONE}(?P<rest>{START}[^\n]+)",
        rf"(?<![^\s'\"<>])(?P<relative>[^\s'\"<>]+{SEPARATOR}[^\s'\"<>\\/]*(?:{ENDING}))(?!\w)",
        FILE, BARE_FILE,
        *map(_name_pattern, sorted(known, key=len, reverse=True))]
    masked = re.sub("|".join(alternatives), _mask, text, flags=re.IGNORECASE | re.MULTILINE)
    masked = AROUND.sub(_mask_around, DEEP.sub(lambda path: _summary(path[0]), masked))
    return BESIDE.sub(lambda line: QUOTED.sub(_mask_beside, line[0]), masked)


def _mask(found: re.Match[str]) -> str:
    groups = {name: value for name, value in found.groupdict().items() if value}
    quote_mark = groups.pop("quote", "") or groups.pop("mark", "")
    name, value = next(iter(groups.items()), ("", ""))
    if name in ("file", "bare"):
        return f"{quote_mark}{_masked_file(value)}{quote_mark}"
    if name in PROGRAMS:
        return f"<{PROGRAMS[name]}>/{re.sub(SEPARATOR, '/', value).lstrip('/')}"
    return f"{quote_mark}{_summary(value)}{quote_mark}" if value else NAME


def _masked_file(name: str) -> str:
    ending = _ending(name)
    return name if not _is_name(name[:len(name) - len(ending)]) else f"{NAME}{ending}"


def _mask_around(found: re.Match[str]) -> str:
    """What lies below a folder with a known name, or above one."""
    return _summary(found[0]) if re.search(SEPARATOR, found[0], re.IGNORECASE) else found[0]


def _mask_beside(found: re.Match[str]) -> str:
    """What is quoted beside a masked folder: a file in it, mostly."""
    is_word = found[1].lower() in EVERYWHERE or re.match(r"-|cuda|.*[<>]", found[1])
    return found[0] if is_word else f"'{NAME}'"


def _unnamed(pattern: str) -> str:
    """The same pattern, to stand in another a second time."""
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


def _summary(path: str) -> str:
    """How deep a path is and what it ends with."""
    parts = [part for part in re.split(SEPARATOR, path, flags=re.IGNORECASE) if part]
    ending = _ending(parts[-1]) if parts else ""
    return f"<path of {len(parts)} parts{f', {ending}' if ending else ''}>"


def _ending(name: str) -> str:
    return next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")


def _account() -> Iterator[str]:
    """Names of the person and the computer."""
    home = os.environ.get("USERPROFILE") or os.environ.get("HOME") or ""
    for value in (*_parts(Path(home))[1:], *map(os.environ.get, ACCOUNT), platform.node(),
                  platform.node().partition(".")[0], _user()):
        if value and len(value) > 1 and value.lower() not in EVERYWHERE:
            yield value


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without accounts
        return ""


def _program_folders() -> list[Path]:
    """Whose files may be named: the module, the library and Python."""
    library, module = Path(SAMoraLib.__file__).resolve().parents[1], Path(__file__).resolve().parents[1]
    folders = {module, library, Path(sys.prefix), Path(sys.base_prefix)}
    return sorted((folder for folder in folders if len(folder.parts) > 1), key=lambda folder: -len(str(folder)))


def _parts(path: Path) -> list[str]:
    """The folders' and the file's name, also of another system's path."""
    pure = PureWindowsPath(str(path)) if re.match(r"[A-Za-z]:|\\\\", str(path)) else PurePosixPath(str(path))
    parts = [part for part in pure.parts if part != pure.anchor]
    return [*([pure.drive.strip("\\")] if pure.drive.startswith("\\") else []), *parts]


def _names(part: str) -> Iterator[str]:
    """What of a folder's or file's name is a name: the whole, without its ending, and its words and numbers."""
    ending = _ending(part)
    stem = part[:len(part) - len(ending)]
    words = [word for word in PIECE.findall(stem) if len(word) >= SHORTEST_WORD or not word.isascii() or "^" in stem]
    yield from filter(_is_name, (part if not ending else "", stem, *words))


def _is_name(text: str) -> bool:
    """Whether it is masked where it stands alone: no word of everybody's, no small number."""
    return len(text) >= (SHORTEST_NUMBER if text.isdecimal() else 2) and text.lower() not in EVERYWHERE


def _spellings_in(name: str, folded: str) -> list[str]:
    """The spellings of a name that are in a text, which is small beside ten thousand names: ASCII stays in all."""
    certain = max(ASCII.findall(unicodedata.normalize("NFC", name)), key=len, default="")
    if certain.casefold() not in folded:
        return []
    return [spelling for spelling in _spellings(name) if spelling.casefold() in folded]


def _spellings(name: str) -> set[str]:
    """How a program may write a name, in whichever capitals."""
    if PLAIN.fullmatch(name):
        return {name, name.replace(" ", "%20"), name.replace(" ", "+")}
    found = set()
    for form in {name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)}:
        data = _bytes(form)
        found |= {form, form.upper(), form.casefold(), one_line(form), repr(form)[1:-1], ascii(form)[1:-1],
                  json.dumps(form)[1:-1], quote(data), quote(data, safe=""), quote_plus(data), html.escape(form),
                  repr(data)[2:-1], data.decode("latin-1"), data.decode("utf-8", "replace"),
                  form.encode("ascii", "replace").decode(), form.encode("ascii", "xmlcharrefreplace").decode()}
    return {spelling for spelling in found if spelling.strip("? ")}


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _met(paths: Iterable[Path], folded: str) -> list[Path]:
    """The paths whose last name is in the text, longest first: others need no pattern, of thousands."""
    met = {path for path in paths if path.name and _spellings_in(path.name, folded)}
    return sorted(met, key=lambda path: len(str(path)), reverse=True)


def _path_pattern(path: Path) -> str:
    """A whole path with whichever separators, each part in whichever spelling."""
    parts = ["|".join(map(re.escape, sorted(_spellings(part), key=len, reverse=True))) for part in _parts(path)]
    drive = re.match(r"([A-Za-z]):", str(path))
    lead = rf"{drive[1]}(?::|%3A){SEPARATOR}" if drive else SEPARATOR if path.is_absolute() else ""
    return lead + SEPARATOR.join(f"(?:{part})" for part in parts) + r"(?![^\W_])"


def _name_pattern(name: str) -> str:
    """A name that is no part of a longer word or number."""
    before, after = (r"[^\W\d_]" if edge.isalpha() else r"\d" if edge.isdigit() else "" for edge in (name[0], name[-1]))
    return (f"(?<!{before})" if before else "") + re.escape(name) + (f"(?!{after})" if after else "")
