"""A locale whose decimal sign is a comma, for tests: one of the machine's, or one that is made of glibc's sources."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NAMES = ("de_DE.UTF-8", "fr_FR.UTF-8", "nl_NL.UTF-8", "es_ES.UTF-8", "German_Germany.1252", "French_France.1252")


@contextmanager
def comma_locale(folder: Path) -> Iterator[str]:
    """Inside, the process has such a locale, whose name is given; skips the test where there is none.

    Args:
        folder: an empty one, for the locale that is made.
    """
    before, path = locale.setlocale(locale.LC_ALL), os.environ.get("LOCPATH")
    try:
        if not (name := _set_one()):
            _make(folder)
            os.environ["LOCPATH"] = str(folder)
            name = _set_one()
        if not name:
            pytest.skip("this machine has no locale with a decimal comma, nor localedef with its sources to make one")
        yield name
    finally:
        locale.setlocale(locale.LC_ALL, before)
        os.environ.pop("LOCPATH", None)
        if path is not None:
            os.environ["LOCPATH"] = path


def _set_one() -> str:
    for name in NAMES:
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        if locale.localeconv()["decimal_point"] == ",":
            return name
    return ""


def _make(folder: Path) -> None:
    if shutil.which("localedef"):
        subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(folder / NAMES[0])], capture_output=True,
                       check=False, timeout=60)
