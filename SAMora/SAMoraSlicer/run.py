"""What everybody who starts work in a child process, polls it and shows it may ask of it."""

from __future__ import annotations

from typing import Protocol

from SAMoraLib.system.streams import one_line

POLL_SECONDS = 0.05
ENOUGH_TO_GUESS = 0.03  # of the work: before, the time that is left is not told


class Run(Protocol):
    """Work that a child process does: volumes of the scene, or files of a folder.

    Attributes:
        state: "idle", "running", "done", "cancelled" or "failed".
        stage: what is being done, in a word or two.
        errors: name of a volume -> sentence; under None what ended the whole run.
        notices: lines for people, in the order in which they came.
    """

    state: str
    stage: str
    errors: dict[str | None, str]
    notices: list[str]

    @property
    def fraction(self) -> float:
        """How far the whole run is, 0 to 1."""

    @property
    def seconds_left(self) -> float | None:
        """None while nothing can be said."""

    def start(self) -> None:
        """Begin; ``step`` goes on."""

    def step(self) -> bool:
        """Take in what has arrived, without waiting; True while running."""

    def cancel(self) -> None:
        """End the child and leave nothing half done behind."""

    def report(self) -> str:
        """What a person who is asked for help needs to know; no name of a volume, a path or an account."""


def seconds_left(done: float, left: float, seconds: float) -> float | None:
    """How long the share ``left`` of the work will take, if the share ``done`` took ``seconds``; None if too little is
    done to tell.
    """
    return None if done < ENOUGH_TO_GUESS else seconds * left / done


def unforeseen(error: Exception, when: str) -> str:
    """One sentence about an exception that nobody foresaw."""
    if isinstance(error, MemoryError):
        return f"Memory ran out while {when}; close other programs or other data, and try again."
    cause = one_line(f"{type(error).__name__}: {error}"[:200]).rstrip(". ")
    return (f"Something unforeseen happened while {when} ({cause}); try again, or ask for help with the text of 'Copy "
            "report'.")
