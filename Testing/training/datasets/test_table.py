"""The table of data sets: every row fits together, and windows and sizes are those of the papers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from SAMoraLib.labels import LABEL_SETS, ORGANS, get_label_set
from Testing.folders import ROOT
from Training.datasets.protocol import BACKGROUND, Protocol, label_map_of
from Training.datasets.splits import published_split
from Training.datasets.table import DATA_SETS

ROWS = {f"{name}-{part}": protocol for name, parts in DATA_SETS.items() for part, protocol in parts.items()}
every_row = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
LISTED = {"amos22-ct", "amos22-mr", "totalsegmentator-ct"}  # say in a file of their own what there should be


@every_row
def test_a_row_labels_the_organs_of_its_set(row: Protocol) -> None:
    labels = get_label_set(row.labels)
    assert set(label_map_of(row, labels).values()) == {label.value for label in labels}
    assert set(row.numbers.values()) <= {*ORGANS, BACKGROUND}


@every_row
def test_a_rows_organs_are_told_apart_by_their_numbers(row: Protocol) -> None:
    drawn = [organ for organ in row.numbers.values() if organ != BACKGROUND]
    assert len(set(drawn)) == len(drawn) and min(row.numbers) > 0


def test_rows_have_titles_of_their_own_and_known_label_sets() -> None:
    assert len({row.title for row in ROWS.values()}) == len(ROWS)
    assert {row.labels for row in ROWS.values()} <= set(LABEL_SETS)


@pytest.mark.parametrize("name", sorted(set(ROWS) - LISTED))
def test_a_folder_of_something_else_holds_no_case(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    assert not ROWS[name].find(tmp_path).cases


@pytest.mark.parametrize("name", sorted(LISTED))
def test_a_list_of_files_that_is_not_there_is_named(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path))):
        ROWS[name].find(tmp_path)


def test_published_splits_are_those_of_four_data_sets() -> None:
    splits = {name: row.split for name, row in ROWS.items() if row.split}
    assert splits == {"synapse-raw": "synapse", "synapse-transunet": "synapse", "btcv-raw": "btcv", "la-nrrd": "la",
                      "la-h5": "la", "promise12-t2": "promise12"}
    assert all(published_split(split) for split in splits.values())


def test_cases_without_an_organ_are_left_out_of_whole_bodies_alone() -> None:
    assert [name for name, row in ROWS.items() if row.whole_body] == ["totalsegmentator-ct"]


@pytest.mark.parametrize(("names", "window"), [
    (("synapse-raw", "synapse-transunet", "chaos-ct", "totalsegmentator-ct"), ("CT", -125, 275, 224)),
    (("btcv-raw",), ("CT", -200, 250, 512)),
    (("amos22-ct", "lits-ct", "kits19-ct", "msd-liver", "msd-colon"), ("CT", -200, 400, 224)),
    (("amos22-mr",), ("MR", 0, 99, 224)), (("msd-heart",), ("MR", 0, 100, 224)),
    (("la-nrrd", "la-h5"), ("MR", 0, 100, 512)), (("promise12-t2",), ("MR", 0, 99, 512)),
    (("chaos-t2", "chaos-t1_in", "chaos-t1_out"), ("MR", 1, 99, 224)),
])
def test_windows_and_sizes(names: tuple[str, ...], window: tuple[str, int, int, int]) -> None:
    for name in names:
        used = ROWS[name].preprocessing
        assert (used.modality, used.low, used.high, used.image_size) == window
        assert used.intensity == ("hu_window" if used.modality == "CT" else "percentile")


def test_the_documentation_names_every_data_set() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert not [name for name in DATA_SETS if f"`{name}`" not in text]
