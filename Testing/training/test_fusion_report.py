"""The command that says what a model loses without each expert."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from SAMoraLib.checkpoint import save_model
from SAMoraLib.variants import EXPERTS, Fusion
from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from Testing.small import small_card, small_model
from Training import fusion_report


def checkpoint(folder: Path, name: str = "samora", fusion: Fusion | None = None) -> str:
    model = small_model(name, fusion=fusion or Fusion(width=8))
    save_model(folder / "model.safetensors", model, small_card(model.variant))
    return str(folder / "model.safetensors")


@pytest.fixture
def volume(tmp_path: Path) -> str:
    array = np.full((2, 40, 40), -1000, np.int16)
    array[:, 4:36, 4:36] = np.random.default_rng(1).integers(-100, 200, (2, 32, 32))
    written = Volume(array, (2.0, 2.0, 5.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    write_volume(written, tmp_path / "ct.nii.gz")
    return str(tmp_path / "ct.nii.gz")


def test_one_line_of_json(tmp_path: Path, volume: str, capsys: pytest.CaptureFixture[str]) -> None:
    fusion_report.main([checkpoint(tmp_path), volume, volume, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert list(report["removed"]) == [*EXPERTS, "fusion", "window mean"] and report["volumes"] == [volume] * 2
    assert all(set(change) == {"foreground", "logits"} for change in report["removed"].values())
    shares = [block["window_share"] for block in report["blocks"]]
    assert report["median_window_share"] == pytest.approx(sum(shares) / 2) and len(shares) == 2
    assert all(0 < block["effective_keys"] <= 1 + 1e-6 and block["size"] > 0 for block in report["blocks"])


def test_tables_and_a_picture(tmp_path: Path, volume: str, capsys: pytest.CaptureFixture[str]) -> None:
    fusion_report.main([checkpoint(tmp_path), volume, "--picture", str(tmp_path / "fusion.png")])
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "| without | foreground changed | logits changed |" and lines[2].startswith("| image | ")
    assert lines[8] == "| block | size | window's share | effective keys |" and lines[11].startswith("| 1 | ")
    assert (tmp_path / "fusion.png").exists() and "without pixel ..." in said.err


def test_another_fusion_has_no_blocks(tmp_path: Path, volume: str, capsys: pytest.CaptureFixture[str]) -> None:
    fusion_report.main([checkpoint(tmp_path, fusion=Fusion(kind="lac")), volume, "--json"])
    report = json.loads(capsys.readouterr().out)
    assert list(report["removed"]) == [*EXPERTS, "fusion"] and "blocks" not in report


def test_without_a_volume_the_phantom_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Volume] = []
    monkeypatch.setattr(fusion_report, "measure_removals", lambda predictor, volumes, tell: seen.extend(volumes) or {})
    monkeypatch.setattr(fusion_report, "_blocks", lambda predictor, volumes: {})
    fusion_report.main([checkpoint(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["volumes"] == ["phantom 1"]
    assert np.array_equal(seen[0].array, fusion_report.make_phantom(1).ct.array)


def test_the_command_ends_with_what_is_wrong(tmp_path: Path, volume: str) -> None:
    with pytest.raises(SystemExit) as stop:
        fusion_report.main([checkpoint(tmp_path, "samed"), volume])
    assert str(stop.value.code).startswith("'samed' fuses no experts")
