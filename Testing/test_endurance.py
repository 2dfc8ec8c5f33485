"""The trials of ``make endurance``, small."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from Testing.endurance import __main__ as endurance
from Testing.endurance import training
from Testing.endurance.batch import killed_batch
from Testing.endurance.trial import Trial
from Testing.endurance.volumes import long_volume, many_volumes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


def test_many_volumes_and_a_long_one(tmp_path: Path) -> None:
    many = many_volumes(tmp_path, count=4)
    assert many.measured["volumes"] == 4 and many.measured["last_mb"] > 50 and many.measured["last_handles"] > 2
    assert long_volume(tmp_path, slices=4, size=64).measured["peak_mb"] > 50


def test_a_killed_batch(tmp_path: Path) -> None:
    trial = killed_batch(tmp_path, count=4, corrupt=1, kills=1)
    assert trial.holds and trial.measured["done"] == 4 and trial.measured["looks"] > 10


@pytest.mark.slow  # four processes that load torch one after the other
def test_killed_training(tmp_path: Path) -> None:
    trial = training.killed_training(tmp_path, kills=2, while_written=1)
    assert trial.holds and trial.measured["kills"] == 2


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(endurance, "TRIALS", {"a": lambda folder: Trial(True, {"x": 1}),
                                              "b": lambda folder: Trial(False, {})})
    assert endurance.main(["--only", "a", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"a": {"holds": True, "x": 1}}
    assert endurance.main([]) == 1
    with pytest.raises(SystemExit):
        endurance.main(["--only", "c"])
    assert "there is no trial 'c'; choose from a, b" in capsys.readouterr().err
