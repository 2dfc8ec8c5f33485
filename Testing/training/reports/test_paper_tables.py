"""The papers' tables: as they are printed, and our numbers beside them."""

from __future__ import annotations

import re

import pytest

from Testing.folders import SHARED
from Testing.refusals import refusal
from Testing.training.reports.result_files import ORGANS, result
from Training.reports.paper_tables import Measured, PaperTable, beside_ours, paper_tables, read_paper_table
from Training.reports.rows import Row

MARKUP = re.compile(r"</?b>|\[\d+\]|\(w/o? ?CPT\)|(?<=[A-Za-z])-2\*?|10%|-T[12]")  # what holds digits but no result
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.mark.parametrize("name", paper_tables())
def test_a_papers_table_has_a_cell_for_every_column(name: str) -> None:
    table = read_paper_table(name)
    assert table.rows and all(len(cells) == len(table.columns) for cells in table.rows.values())
    assert set(table.measured) <= set(table.columns)


@pytest.mark.parametrize("name", [name for name in paper_tables() if name != "B.6"])
def test_the_numbers_are_those_of_the_papers_text(name: str) -> None:
    """Each row's numbers stand together in the extracted text, in this order; table 6 is printed by columns."""
    papers = SHARED / "papers"
    if not papers.is_dir():
        pytest.skip("needs ../shared/papers, which is not part of the repository")
    text = "".join((papers / f"{paper}.txt").read_text(encoding="utf-8") for paper in ("samora", "samora_supplement"))
    lines = {" ".join(NUMBER.findall(MARKUP.sub(" ", line))) for line in text.splitlines()}
    rows = [[cell for cell in cells if NUMBER.fullmatch(cell)] for cells in read_paper_table(name).rows.values()]
    for numbers in zip(*rows, strict=True) if name == "6" else rows:
        assert any(" ".join(numbers) in line for line in lines), numbers


def test_means_that_the_papers_print_are_those_of_their_organs_but_for_the_noted_ones() -> None:
    wrong = []
    for key, cells in read_paper_table("13").rows.items():
        *organs, mean, _ = map(float, cells[2:])
        if abs(sum(organs) / 8 - mean) > 0.0125:  # what rounding may do
            wrong.append(f"{sum(organs) / 8:.2f}")
            assert key in ("autosam_10", "samed_2_10", "samed_2", "h_samora_10")
    assert all(mean in "".join(read_paper_table("13").notes) for mean in wrong) and len(wrong) == 4


PAPER = PaperTable(
    "Printed", ("name", "liver", "mean", "HD95", "NSD", "time"),
    {"liver": Measured(organ="liver"), "mean": Measured(), "HD95": Measured("hd95"), "NSD": Measured("nsd", run="_10"),
     "time": Measured("seconds")},
    {"samed": ("SAMed", "1", "2", "3", "4", "5"), "samora": ("Ours", "6", "7", "8", "9", "10")}, ("A note.",))


def row(name: str, *dice: tuple[float | None, ...], organs: tuple[str, ...] = ORGANS) -> Row:
    """A seed for each number of the two organs, of one case that took 1.25 s."""
    return Row(name, (), tuple((result("x", one, organs, 1.25),) for one in dice))


def test_the_tables_stand_in_the_papers_order() -> None:
    assert paper_tables() == ["1", "2", "3", "4", "5", "6", "9", "10", "11", "12", "13", "14", "15", "B.6"]


def test_a_table_that_there_is_not_is_refused() -> None:
    assert refusal(lambda: read_paper_table("7")) == (
        "There is no table '7'; choose from 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, B.6.")


def test_our_columns_stand_after_those_that_we_measured() -> None:
    """Shares in percent, HD95 and seconds as they are; dashes where we have no run."""
    table = beside_ours(PAPER, [row("samora", (0.8, 0.6), (0.7, 0.5))], "strict")
    assert table.title == "Printed" and table.columns == (
        "name", "liver", "ours", "mean", "ours", "HD95", "ours", "NSD", "time", "ours")
    assert table.rows == (("SAMed", "1", "-", "2", "-", "3", "-", "4", "5", "-"),
                          ("Ours", "6", "75.00", "7", "65.00", "8", "6.50", "9", "10", "1.2"))
    assert table.notes == ("A note.", "Ours, samora: 2 seeds, 1 test cases (liver, right kidney), convention strict, "
                                      "HD95 in mm; only the same data and organs compare with the printed numbers.")


def test_a_column_may_be_of_another_run_of_the_row() -> None:
    table = beside_ours(PAPER, [row("samora_10", (0.8, 0.6))], "samed")
    assert table.columns == ("name", "liver", "mean", "HD95", "NSD", "ours", "time")
    assert [line[5] for line in table.rows] == ["-", "3.50"]
    assert "samora_10: 1 seed, 1 test cases (liver, right kidney), convention samed, HD95 in voxels;" in table.notes[1]


def test_a_convention_without_distances_names_no_unit() -> None:
    assert "convention ma_sam; only" in beside_ours(PAPER, [row("samed", (0.8, 0.6))], "ma_sam").notes[1]


def test_what_a_run_did_not_measure_is_a_dash() -> None:
    table = beside_ours(PAPER, [row("samed", (0.8,), organs=("spleen",)), row("samora", (None, None))], "strict")
    assert table.columns == ("name", "liver", "mean", "ours", "HD95", "ours", "NSD", "time", "ours")
    assert [line[3] for line in table.rows] == ["80.00", "-"]


def test_runs_of_other_names_go_along_but_not_alone() -> None:
    both = beside_ours(PAPER, [row("mine", (0.1, 0.1)), row("samed", (0.8, 0.6))], "strict")
    assert len(both.notes) == 2 and both.rows[0][2] == "80.00"
    assert refusal(lambda: beside_ours(PAPER, [row("mine", (0.1, 0.1))], "strict")) == (
        "No run is called as a row of 'Printed'; give runs as NAME=FOLDER with a NAME of samed, samed_10, samora, "
        "samora_10.")
    unmeasured = PaperTable("Sizes", ("name",), {}, {"samed": ("SAMed",)}, ())
    assert refusal(lambda: beside_ours(unmeasured, [row("samed", (0.1, 0.1))], "strict")).endswith(
        "with a NAME of another table: here nothing is measured.")


def test_without_runs_the_table_is_as_printed() -> None:
    table = beside_ours(PAPER, [], "samed")
    assert table.columns == PAPER.columns and table.rows == tuple(PAPER.rows.values()) and table.notes == PAPER.notes
