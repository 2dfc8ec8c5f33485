"""The picture of a fusion report shows its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from Testing.training.reports.drawn_figures import saved_figures
from Training.reports.fusion_picture import draw_fusion

REPORT = {"checkpoint": "a/model.safetensors", "volumes": ["a", "b"],
          "removed": {"image": {"foreground": 0.02, "logits": 0.1}, "patch": {"foreground": 0.3, "logits": 0.2}}}
BLOCKS = [{"size": 0.1, "window_share": 0.5, "effective_keys": 0.9},
          {"size": 0.2, "window_share": 0.25, "effective_keys": 0.8}]


def test_bars_of_the_removals_and_lines_of_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    draw_fusion(tmp_path / "fusion.png", {**REPORT, "blocks": BLOCKS})
    bars, lines = figures[0].axes
    assert [bar.get_width() for bar in bars.patches] == pytest.approx([2, 30])
    assert [text.get_text() for text in bars.texts] == ["2.00", "30.00"]
    assert [label.get_text() for label in bars.get_yticklabels()] == ["image", "patch"]
    assert [list(line.get_ydata()) for line in lines.lines] == [[0.5, 0.25], [0.9, 0.8], [0.1, 0.2]]
    assert figures[0].get_suptitle() == "model.safetensors on 2 volumes"
    assert (tmp_path / "fusion.png").stat().st_size > 1000


def test_without_blocks_there_are_bars_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = saved_figures(monkeypatch)
    draw_fusion(tmp_path / "fusion.png", {**REPORT, "volumes": ["a"]})
    assert len(figures[0].axes) == 1 and figures[0].get_suptitle() == "model.safetensors on 1 volume"
