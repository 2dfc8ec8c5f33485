"""Run folders: configuration, log and state."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from Testing.refusals import refusal
from Testing.slicer.full_disk import full_disk
from Training.engine.run import Run
from Training.settings.optimisation import Optimisation
from Training.settings.stages import Stage2


def config(**changes: object) -> Stage2:
    return replace(Stage2(output=Path("o"), manifest=Path("m"), base=Path("b"), variant="samed"), **changes)


def test_the_configuration_is_written_and_read_as_the_same_run(tmp_path: Path) -> None:
    Run(tmp_path, config())
    Run(tmp_path, config())
    assert "variant: samed" in (tmp_path / "config.yaml").read_text(encoding="utf-8")


def test_a_folder_from_before_a_field_existed_had_its_default(tmp_path: Path) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    Run(tmp_path, config())
    path.write_text("".join(line for line in path.read_text().splitlines(True) if not line.startswith("trained:")))
    with pytest.raises(ValueError, match="whose trained differ"):
        Run(tmp_path, config(trained=("decoder",)))


def test_also_in_a_part_of_the_configuration(tmp_path: Path) -> None:
    Run(tmp_path, config())
    path = tmp_path / "config.yaml"
    path.write_text("".join(line for line in path.read_text(encoding="utf-8").splitlines(True)
                            if line.strip() not in ("workers: 0", "total: 0")))  # optimisation's, and its schedule's
    Run(tmp_path, config())
    assert "workers: 0" in path.read_text(encoding="utf-8") and "total: 0" in path.read_text(encoding="utf-8")
    path.write_text("".join(line for line in path.read_text().splitlines(True) if line.strip() != "workers: 0"))
    with pytest.raises(ValueError, match="whose optimisation differ"):
        Run(tmp_path, config(optimisation=Optimisation(workers=2)))


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


def test_a_full_disk_is_one_sentence_and_leaves_the_old_state(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1})
    with full_disk(20_000), pytest.raises(OSError, match=r"state\.pt' could not be written; check that the disk has"):
        run.save_state({"step": 2, "weights": torch.zeros(100_000)})
    assert run.load_state() == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "state.pt"]


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_damaged_state_is_one_sentence(tmp_path: Path, kept: int) -> None:
    run = Run(tmp_path, config())
    run.save_state({"step": 1, "weights": torch.zeros(100)})
    (tmp_path / "state.pt").write_bytes((tmp_path / "state.pt").read_bytes()[:kept])
    assert "state.pt' is damaged; delete it to start this run again" in refusal(run.load_state)


def test_a_state_of_which_a_byte_changed_is_damaged(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.save_state({"weights": torch.full((100,), 3.0)})
    content, numbers = (tmp_path / "state.pt").read_bytes(), torch.full((100,), 3.0).numpy().tobytes()
    assert numbers in content
    (tmp_path / "state.pt").write_bytes(content.replace(numbers, numbers[:-4] + bytes(4)))
    assert "state.pt' is damaged; delete it to start this run again" in refusal(run.load_state)


def test_a_log_line_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    run = Run(tmp_path, config())
    run.log(step=1, loss=0.5)
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 2, "lo')
    run.log(step=2, loss=0.25)
    run.log(step=3, loss=0.125)
    assert (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"step": 1, "loss": 0.5}', '{"step": 2, "lo', '{"step": 2, "loss": 0.25}', '{"step": 3, "loss": 0.125}']
