"""The decimal sign while headers are read and written, and afterwards."""

from __future__ import annotations

import locale
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.labels import get_label_set
from SAMoraLib.system.numeric_locale import decimal_point
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import LABEL_FORMATS, read_volume, write_segmentation
from Testing.comma_locale import comma_locale

LABELS = Volume(np.zeros((3, 4, 5), np.uint8), (1.75, 2.25, 5.5), (-10.25, 3.75, 7.125),
                (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))


def sign() -> str:
    return str(locale.localeconv()["decimal_point"])


@pytest.fixture
def comma(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with comma_locale(tmp_path_factory.mktemp("locales")) as name:
        yield name


def test_inside_there_is_a_point_and_afterwards_the_comma_again(comma: str) -> None:
    with decimal_point():
        assert sign() == "."
    assert sign() == "," and locale.setlocale(locale.LC_NUMERIC) == comma


def test_a_failure_restores_it_too(comma: str) -> None:
    with pytest.raises(KeyError), decimal_point():
        raise KeyError
    assert sign() == ","


def test_whoever_leaves_last_restores_it(comma: str) -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with decimal_point():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with decimal_point():
        thread.start()
        assert inside.wait(10)
        with decimal_point():
            pass
        assert sign() == "."
    assert sign() == ".", "the other thread is still inside"
    leave.set()
    thread.join(10)
    assert sign() == ","


def test_it_decorates_functions(comma: str) -> None:
    decorated = decimal_point()(sign)
    assert [decorated(), sign(), decorated(), sign()] == [".", ",", ".", ","]


def test_where_nobody_set_a_locale_nothing_changes() -> None:
    before = locale.setlocale(locale.LC_ALL)
    with decimal_point():
        assert sign() == "."
    assert locale.setlocale(locale.LC_ALL) == before


@pytest.mark.parametrize("ending", [*LABEL_FORMATS, ".nii"])
def test_volumes_go_through_every_format(comma: str, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"labels{ending}"
    write_segmentation(LABELS, get_label_set("synapse"), path)
    assert b"1,75" not in path.read_bytes()
    found = read_volume(path)
    assert (found.spacing, found.origin) == (LABELS.spacing, LABELS.origin)
    assert sign() == ","
