from __future__ import annotations

import json

import pytest

from Training.step_time import main


def test_times_of_loading_and_of_both_steps(cases, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.add("a")
    cases.manifest(tmp_path, train="a")
    main(["--manifest", str(tmp_path / "manifest.json"), "--encoder", "tiny", "--image-size", "80", "--batch-size", "2",
          "--steps", "1", "--workers", "0", "--device", "cpu", "--cache", str(tmp_path / "cache"), "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny, 80 x 80, batch 2, bfloat16, cpu"
    found = json.loads(lines[-1])
    assert found["samora_to_samed"] == pytest.approx(found["steps"]["samora"] / found["steps"]["samed"])
    assert found["samora_to_samed"] > 1 and 0 < found["waiting"]["0"] < 1
    assert found["loading"]["0"]["slices_per_second"] == pytest.approx(2 / found["loading"]["0"]["seconds"])
