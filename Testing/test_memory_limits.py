"""Little memory ends in the true cause or in a result; ``python -m Testing.memory_limits`` tries many limits."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.volume.io import write_volume
from Testing.memory_limits import NEVER, Outcome, predict_within

WHOLE = ("labels.seg.nrrd",)


@pytest.mark.skipif(sys.platform != "linux", reason="as Linux limits it")
@pytest.mark.parametrize("megabytes", [300, 500, 950])  # torch cannot be loaded, or ends the process, or scipy hangs
def test_too_little_to_begin_is_told(tmp_path: Path, megabytes: int) -> None:
    write_volume(make_phantom(7).ct, tmp_path / "ct.nrrd")
    outcome = predict_within(megabytes, tmp_path / "ct.nrrd", tmp_path / "out")
    assert outcome.is_right and outcome.code == 1, str(outcome)
    assert outcome.said.startswith("samora: There is not enough memory;") and not outcome.files


@pytest.mark.parametrize(("outcome", "right"), [
    (Outcome(1, 0, "", WHOLE, True), True), (Outcome(1, 1, "samora: There is not enough memory.", (), False), True),
    (Outcome(1, 0, "", (), False), False), (Outcome(1, 0, "", WHOLE, False), False),
    (Outcome(1, 1, "samora: The package is missing.", (), False), False),
    (Outcome(1, 1, "samora: There is not enough memory.", (".samora_1.nrrd",), False), False),
    (Outcome(1, 1, "Traceback\nMemoryError: memory", (), False), False), (Outcome(1, -6, "memory", (), False), False),
    (Outcome(1, NEVER, "memory", (), False), False), (Outcome(1, 0, "", (*WHOLE, ".samora_1.nrrd"), True), False)])
def test_what_is_right(outcome: Outcome, right: bool) -> None:
    assert outcome.is_right is right and ("right" in str(outcome)) is right
