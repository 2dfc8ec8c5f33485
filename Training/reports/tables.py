"""A table of text, as Markdown and as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BOLD = re.compile(r"\*\*(.+?)\*\*")
# Alternatives are tried in this order; the characters are those that the tables here use.
LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "$": r"\$", "±": r"$\pm$",
         "✓": r"$\checkmark$", "✗": r"$\times$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "†": r"$\dagger$",
         "<": r"$<$"}


@dataclass(frozen=True)
class Table:
    """Header and rows of text, ``**bold**`` where it should be; a title above and notes below, if any."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    notes: tuple[str, ...] = ()


def markdown(table: Table) -> str:
    """GitHub's tables."""
    lines = [f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|",
             *(f"| {' | '.join(row)} |" for row in table.rows)]
    title = [f"**{table.title}**", ""] if table.title else []
    return "\n".join([*title, *lines, *(["", *(f"- {note}" for note in table.notes)] if table.notes else [])])


def latex(table: Table) -> str:
    r"""A ``table`` that needs graphicx (wide tables shrink to the text's width) and, for check marks, amssymb."""
    lines = [_latex_line(cells) for cells in (table.columns, *table.rows)]
    caption = [rf"\caption{{{_latex_cell(table.title)}}}"] if table.title else []
    notes = [rf"\par\footnotesize {_latex_cell(note)}" for note in table.notes]
    return "\n".join([r"\begin{table}", r"\centering", *caption, r"\resizebox{\textwidth}{!}{%",
                      rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}", r"\hline", lines[0], r"\hline", *lines[1:],
                      r"\hline", r"\end{tabular}}", *notes, r"\end{table}"])


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(map(_latex_cell, cells)) + r" \\"


def _latex_cell(text: str) -> str:
    escaped = "".join(LATEX.get(character, character) for character in text)
    return BOLD.sub(r"\\textbf{\1}", escaped)


FORMATS: dict[str, Callable[[Table], str]] = {"markdown": markdown, "latex": latex}
