"""What is read is never written over (torch-free)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from SAMoraLib.system.places import identity


def refuse_overwriting(output: str | Path, read: Iterable[str | Path]) -> None:
    """Refuse an output that is one of the files that are read, before any work.

    A link, a hard link, a relative path or other capitals on a disk that does not tell them apart name the same file.

    Args:
        read: paths, of which some may not be there yet or at all.

    Raises:
        ValueError: the output is one of them, or a folder.
    """
    output = Path(output)
    for path in map(Path, read):
        if is_same_file(output, path):
            name = f"the file '{path}'" if output != path else "a file"
            raise ValueError(f"'{output}' is {name} that is read here and would be replaced; name another output.")
    if output.is_dir():
        raise ValueError(f"'{output}' is a folder; name the file to write.")


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to one file, by what the disk says, or by the path where nothing is there."""
    one, other = Path(one), Path(other)
    found, others = identity(one), identity(other)
    if found is None or others is None:  # one of them is not there, or a link leads in a circle
        return one.absolute() == other.absolute()
    return found == others
