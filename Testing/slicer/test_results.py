"""The table of organs as text and as a file."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from SAMoraSlicer.results import COLUMNS, Result, cells, headers, write_csv

LIVER = {"name": "liver", "title": "Liver", "voxels": 12345, "volume_ml": 1432.666, "mean_intensity": 104.24,
         "confidence": 0.934, "found": True}
SPLEEN = {"name": "spleen", "title": "Spleen", "voxels": 0, "volume_ml": 0.0, "mean_intensity": None,
          "confidence": None, "found": False}


def result(name: str = "CTLiver", **changes: Any) -> Result:
    return Result(**({"volume": name, "volume_id": "v", "segmentation_id": "s", "modality": "CT",
                      "organs": (LIVER, SPLEEN)} | changes))


def test_cells_are_rounded_and_what_is_absent_is_said() -> None:
    assert cells(LIVER) == ("Liver", "1432.7", "104.2", "93 %")
    assert cells(SPLEEN) == ("Spleen", "not found", "-", "-")
    assert cells({**LIVER, "confidence": None})[-1] == "-"
    assert result().found == 1


def test_only_ct_has_hounsfield_units() -> None:
    assert headers(result())[2] == "Mean (HU)"
    assert headers(result(modality="MR"))[2] == "Mean intensity"


def test_the_file_has_a_row_for_every_organ_of_every_volume(tmp_path: Path) -> None:
    path = tmp_path / "größe 表.csv"
    write_csv([result("Bauch, links"), result("腹部")], path)
    assert path.read_bytes().startswith(b"\xef\xbb\xbf"), "without the mark spreadsheets garble names"
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 4
    assert rows[0]["volume"] == "Bauch, links" and rows[2]["volume"] == "腹部"
    assert float(rows[0]["volume_ml"]) == LIVER["volume_ml"] and rows[0]["organ"] == "liver"
    assert (rows[1]["found"], rows[1]["mean_intensity"], rows[1]["confidence"]) == ("False", "", "")


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match=r"could not be written .* no other program holds the file open\.$"):
        write_csv([result()], tmp_path / "file" / "a.csv")
    if os.name != "nt":
        (tmp_path / "a.csv").mkdir()
        with pytest.raises(OSError, match="could not be written"):
            write_csv([result()], tmp_path / "a.csv")
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_digits_are_those_that_mean_something(tmp_path: Path) -> None:
    organ = {**LIVER, "volume_ml": 1.23456, "mean_intensity": -0.126, "confidence": 0.98765}
    write_csv([result(organs=(organ, {**organ, "volume_ml": 0.0, "mean_intensity": 0.0, "confidence": 0.0}))],
              tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [(row["volume_ml"], row["mean_intensity"], row["confidence"]) for row in csv.DictReader(file)]
    assert rows == [("1.235", "-0.13", "0.9877"), ("0.000", "0.00", "0.0000")]


def rows_of(path: Path, *results: Result) -> list[dict[str, str]]:
    write_csv(results, path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_name_that_is_no_text_is_spelt_out(tmp_path: Path) -> None:
    assert rows_of(tmp_path / "a.csv", result("M\udcfcller"))[0]["volume"] == r"M\udcfcller"


@pytest.mark.parametrize(("name", "written"), [
    ('=HYPERLINK("http://example.org/?"&A1,"open")', '\'=HYPERLINK("http://example.org/?"&A1,"open")'),
    ("+1", "'+1"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", r"\t=1"), ("\r=1", r"\r=1"),
    ("a\n=1", r"a\n=1"), (" =1", " '=1"), ("\uff1d1", "'\uff1d1"), ("a;=1", "a;'=1"), ("a; +1", "a; '+1"),
    ("\x1b[31m", r"\x1b[31m"), ("T1-weighted = 3", "T1-weighted = 3"), ("a@b", "a@b")])
def test_no_cell_is_a_formula(tmp_path: Path, name: str, written: str) -> None:
    organ = {**LIVER, "name": name, "title": name, "mean_intensity": -12.5}
    row = rows_of(tmp_path / "a.csv", result(name, organs=(organ,)))[0]
    assert (row["volume"], row["organ"], row["title"]) == (written, written, written)
    assert row["mean_intensity"] == "-12.50", "a number stays one"
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8-sig").splitlines()
    assert len(lines) == 2


def test_what_a_damaged_file_says_in_place_of_numbers_is_text_or_nothing(tmp_path: Path) -> None:
    organ = {"name": "liver", "title": "Liver", "found": "=1", "voxels": "=1", "volume_ml": "=1", "confidence": [],
             "mean_intensity": True, "unknown": "=1"}
    row = rows_of(tmp_path / "a.csv", result(organs=(organ, {})))[0]
    assert (row["found"], row["voxels"], row["volume_ml"]) == ("'=1", "'=1", "")
    assert row["confidence"] == row["mean_intensity"] == ""
    assert cells(organ)[1:] == ("-", "-", "-")


def test_confidence_is_told_in_percent() -> None:
    assert [cells({**LIVER, "confidence": value})[3] for value in (0.0, 0.005, 0.995, 1.0)] == [
        "0 %", "0 %", "100 %", "100 %"]
