"""Tables as text: every cell in its place, and nothing that LaTeX reads as a command."""

from __future__ import annotations

import pytest

from Training.reports.tables import FORMATS, LATEX, Table, latex, markdown

SMALL = Table(("run", "Dice"), (("a_b", "**0.9** ± 0.1"), ("c", "-")))
WHOLE = Table(SMALL.columns, SMALL.rows, "Table 1: 10 %", ("first & last", "second"))


def test_markdown() -> None:
    lines = ["| run | Dice |", "|---|---|", "| a_b | **0.9** ± 0.1 |", "| c | - |"]
    assert markdown(SMALL).splitlines() == lines
    assert markdown(WHOLE).splitlines() == ["**Table 1: 10 %**", "", *lines, "", "- first & last", "- second"]


def test_latex() -> None:
    begin = [r"\resizebox{\textwidth}{!}{%", r"\begin{tabular}{ll}", r"\hline", r"run & Dice \\", r"\hline",
             r"a\_b & \textbf{0.9} $\pm$ 0.1 \\", r"c & - \\", r"\hline", r"\end{tabular}}"]
    start = [r"\begin{table}", r"\centering"]
    assert latex(SMALL).splitlines() == [*start, *begin, r"\end{table}"]
    assert latex(WHOLE).splitlines() == [
        *start, r"\caption{Table 1: 10 \%}", *begin, r"\par\footnotesize first \& last", r"\par\footnotesize second",
        r"\end{table}"]


@pytest.mark.parametrize(("text", "expected"), [
    *LATEX.items(), ("**a** b **c**", r"\textbf{a} b \textbf{c}"), ("a*b", "a*b"),
])
def test_a_cell_of_latex(text: str, expected: str) -> None:
    assert latex(Table((text,), ())).splitlines()[5] == expected + r" \\"


def test_formats_by_the_names_of_the_command_line() -> None:
    assert (FORMATS["markdown"], FORMATS["latex"]) == (markdown, latex) and len(FORMATS) == 2
