"""What went wrong with an input, where, and how to see it again."""

from __future__ import annotations

import json
import re
import shutil
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from Testing.fuzz.mutate import Files, Mutant, write_files

CRASH, TRACEBACK, HANG, MEMORY, WRONG, SENTENCE = "crash", "traceback", "hang", "memory", "wrong_result", "sentence"
PLURALS = {CRASH: "crashes", TRACEBACK: "tracebacks", HANG: "hangs", MEMORY: "memory", WRONG: "wrong_results",
           SENTENCE: "sentences"}
LONGEST = 600  # characters of a sentence
KEPT = 3  # inputs of one fault
ABOUT, INPUT, GOOD = "finding.json", "input", "good"
PRODUCT = re.compile(r'File "([^"]*?/)?((?:SAMoraLib|SAMora/SAMoraSlicer|Training)/[\w/]+\.py)", line (\d+),? in (\w+)')
NO_MEMORY = re.compile(r"bad_alloc|allocate memory|not enough memory|out of memory", re.IGNORECASE)


@dataclass(frozen=True)
class Finding:
    """One input that the product did not withstand.

    Attributes:
        kind: a key of ``PLURALS``.
        what: the exception's type, the signal, or what is wrong, without what differs from input to input.
        text: all that was said.
        place: FILE:LINE FUNCTION of the product; empty where it is not known.
        how: the names of the changes that made the input.
    """

    format: str
    seed: int
    number: int
    kind: str
    what: str
    text: str
    place: str = ""
    how: tuple[str, ...] = ()

    @property
    def fault(self) -> tuple[str, ...]:
        """What is the same for all inputs that fail alike."""
        return self.format, self.kind, self.what, self.place


def place_in(text: str, innermost_first: bool = False) -> str:
    """The innermost line of the product in a traceback, Python's own or faulthandler's."""
    found = PRODUCT.findall(text)
    if not found:
        return ""
    _, file, line, function = found[0 if innermost_first else -1]
    return f"{file}:{line} {function}"


def fault_of(error: BaseException) -> tuple[str, str] | None:
    """Kind and words of an exception; None where it refuses as the product refuses: one sentence."""
    if lacks_memory(error):
        return MEMORY, type(error).__name__
    if not isinstance(error, (ValueError, OSError)):
        return TRACEBACK, type(error).__name__
    text = str(error)
    if len(text.splitlines()) > 1:
        return SENTENCE, f"{type(error).__name__} of several lines"
    if len(text) > LONGEST:
        return SENTENCE, f"{type(error).__name__} of more than {LONGEST} characters"
    if isinstance(error, ValueError) and not text.endswith("."):
        return SENTENCE, f"{type(error).__name__} that is no sentence"
    return None


def lacks_memory(error: BaseException | None) -> bool:
    """Whether the limit was met, also where another exception hides that."""
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


def traceback_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def keep(finding: Finding, mutant: Mutant, folder: Path) -> Path:
    """Write an input, what it was made from, and what became of it into a folder of its own."""
    place = folder / f"{finding.format}-{finding.seed}-{finding.number}"
    shutil.rmtree(place, ignore_errors=True)
    write_files(mutant.files, place / INPUT)
    write_files(mutant.seed, place / GOOD)
    (place / ABOUT).write_text(json.dumps(asdict(finding), indent=1), encoding="utf-8")
    return place


def kept(path: Path) -> tuple[Finding, Mutant]:
    """What ``keep`` has written: of the folder, or the file in it.

    Raises:
        OSError, ValueError: it is none.
    """
    folder = path if path.is_dir() else path.parent
    try:
        values = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        finding = Finding(**values | {"how": tuple(values["how"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"'{folder / ABOUT}' is no finding of this program ({error}).") from error
    return finding, Mutant(_files(folder / INPUT), _files(folder / GOOD), finding.how)


def _files(folder: Path) -> Files:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(findings: Sequence[Finding]) -> str:
    """Every fault once: how often, its kind, what and where, and the number of its first input."""
    counts = Counter(finding.fault for finding in findings)
    first = {finding.fault: finding for finding in reversed(findings)}
    lines = ["| inputs | format | kind | what | where | first |", "|---|---|---|---|---|---|"]
    for fault, count in sorted(counts.items(), key=lambda item: (item[0][0], -item[1])):
        name, kind, what, place = fault
        lines.append(f"| {count} | {name} | {kind} | {what} | {place} | {first[fault].number} |")
    return "\n".join(lines)
