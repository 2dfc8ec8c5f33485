"""What is fed is worth it: good files are accepted, changed ones partly, and each format's own change is in use."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from Testing.fuzz.formats import FORMATS
from Testing.fuzz.mutate import Mutant, write_files


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "pth_legacy"])
def test_every_good_file_is_accepted_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMORA_WEIGHTS", str(tmp_path))  # as the reader of the catalogue sets it
    kind = FORMATS[name]
    for number, files in enumerate(kind.seeds()):
        folder = tmp_path / str(number)
        write_files(files, folder)
        assert kind.wrong(Mutant(files, files, ()), folder, kind.read(folder)) == ""


def test_torchs_old_form_is_refused(tmp_path: Path) -> None:
    kind = FORMATS["pth_legacy"]
    write_files(kind.seeds()[0], tmp_path)
    with pytest.raises(ValueError, match=r"before 1\.6"):
        kind.read(tmp_path)


@pytest.mark.parametrize("name", FORMATS)
def test_every_change_of_a_format_works_on_its_good_files(name: str) -> None:
    kind, random = FORMATS[name], Random(0)
    for files in kind.seeds():
        entry = next(iter(files.values()))
        for change in set(kind.changes):
            assert any(change(random, entry) != entry for _ in range(10)), change.__name__


def test_good_files_are_small_and_the_same_again() -> None:
    for kind in FORMATS.values():
        assert sum(len(content) for files in kind.seeds() for content in files.values()) < 1_000_000, kind.name
        again = kind.seeds.__wrapped__()  # type: ignore[attr-defined]  # of the cache
        assert again == kind.seeds(), kind.name
