"""Figures as they are when they are saved: what lies where can be asked, where pixels differ between versions."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure


def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list that gets every figure which is saved from now on."""
    figures: list[Any] = []
    save = Figure.savefig

    def keep(figure: Figure, *arguments: Any, **named: Any) -> None:
        figures.append(figure)
        save(figure, *arguments, **named)

    monkeypatch.setattr(Figure, "savefig", keep)
    return figures


def text_sizes(figure: Figure) -> dict[str, float]:
    """Titles and legends of a figure with their sizes in points."""
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    return {text.get_text(): text.get_fontsize() for text in (*figure.texts, *(axis.title for axis in figure.axes),
                                                              *legends)}
