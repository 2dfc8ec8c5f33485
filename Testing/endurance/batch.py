"""A folder batch whose programs are killed again and again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from SAMoraSlicer.manifest import Manifest
from Testing.endurance.trial import Trial
from Testing.endurance.volumes import ENDINGS, write_ct, write_model
from Testing.folders import ROOT

SCRIPT = ROOT / "SAMora/SAMoraSlicer/segment_batch.py"


def killed_batch(folder: Path, count: int, corrupt: int, kills: int) -> Trial:
    """What is noted as done is not done again, the corrupt fail, and the manifest is whole whenever somebody looks."""
    patients, output, model = folder / "patients", folder / "out", write_model(folder)
    patients.mkdir()
    for number in range(count):
        write_ct(patients / f"case{number:04}{ENDINGS[number % 4]}", seed=number)
    for number in range(corrupt):
        (patients / f"corrupt{number:02}.nii.gz").write_bytes(b"no volume")
    command = [sys.executable, str(SCRIPT), "--input", str(patients), "--output", str(output), "--model", str(model),
               "--device", "cpu", "--batch-size", "1"]
    done: dict[str, int] = {}  # when the result of each volume was written that a killed run knew as done
    looks = torn = 0
    for run in range(kills + 1):
        aim = count * (run + 1) // (kills + 1) if run < kills else count + 1
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True) as child:
            while child.poll() is None:
                looks, torn = looks + 1, torn + (not _is_whole(output / "manifest.json"))
                if len(_results(output)) >= aim:
                    os.killpg(child.pid, signal.SIGKILL)
                    break
                time.sleep(0.005)
        written = _results(output)
        done = {name: written[name] for name in _names(output, "done") & written.keys()} | done
    again = sum(written[name] != at for name, at in done.items())
    counts = {"done": len(_names(output, "done")), "failed": len(_names(output, "failed")), "made_again": again}
    holds = counts == {"done": count, "failed": corrupt, "made_again": 0} and not torn and not list(output.glob(".s*"))
    return Trial(holds, {**counts, "looks": looks, "torn": torn})


def _is_whole(manifest: Path) -> bool:
    try:
        return isinstance(json.loads(manifest.read_text(encoding="utf-8")), dict)
    except FileNotFoundError:
        return True
    except ValueError:
        return False


def _results(output: Path) -> dict[str, int]:
    return {path.name.split("_segmentation")[0]: path.stat().st_mtime_ns for path in output.glob("*_segmentation*")}


def _names(output: Path, status: str) -> set[str]:
    cases = Manifest(output / "manifest.json", {}).cases
    return {name for name, case in cases.items() if case["status"] == status}
