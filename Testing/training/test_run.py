"""Run folders: configuration, log and state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from Training.config import Stage2
from Training.run import Run


def config(**changes: object) -> Stage2:
    return replace(Stage2(output=Path("o"), manifest=Path("m"), base=Path("b"), variant="samed"), **changes)


def test_the_configuration_is_written_and_read_as_the_same_run(tmp_path: Path) -> None:
    Run(tmp_path, config())
    Run(tmp_path, config())
    assert "variant: samed" in (tmp_path / "config.yaml").read_text()


def test_a_folder_from_before_a_field_existed_had_its_default(tmp_path: Path) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    Run(tmp_path, config())
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    with pytest.raises(ValueError, match="whose trained differ"):
        Run(tmp_path, config(trained=("decoder",)))


def test_another_configuration_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, config())
    with pytest.raises(ValueError, match="holds a run whose fraction, variant differ"):
        Run(tmp_path, config(variant="samora", fraction=0.1))


def test_state_is_none_before_the_first_save(tmp_path: Path) -> None:
    assert Run(tmp_path, config()).load_state() is None


def test_a_failed_save_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1})

    def torn(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", torn)
    with pytest.raises(OSError):
        run.save_state({"step": 2})
    state = run.load_state()
    assert state == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "state.pt"]


def test_a_log_line_cut_short_is_left_out(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.log(step=1, loss=0.5)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert run.read_log() == [{"step": 1, "loss": 0.5}]
