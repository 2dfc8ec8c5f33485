"""Training that is killed, and whose disk is full, ends at the weights of a run that was left alone."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import torch

from Testing.endurance.trial import Trial
from Testing.folders import ROOT
from Testing.training import small_run

STEPS, PAUSE = 50, 0.01
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
import json
from Testing.training.small_run import train
train(**json.loads({settings!r}))
"""


def killed_training(folder: Path, kills: int, while_written: int) -> Trial:
    """Killed at times that a seed chooses, ``while_written`` of them while the state is being written."""
    chance = random.Random(1)
    counts = {"kills": 0, "while_written": 0}
    for number in range(kills):
        child = _start(folder / "killed")
        begun, wait = time.monotonic(), chance.uniform(0.0, 1.0)
        while not (folder / "killed/log.jsonl").exists() and child.poll() is None:
            time.sleep(0.01)
        if number < while_written:
            counts["while_written"] += _wait_for_hidden(folder / "killed", child)
        else:
            time.sleep(wait)
        counts["kills"] += child.poll() is None and time.monotonic() > begun
        child.kill()
        child.wait()
    small_run.finish(_start(folder / "killed"))
    equal, steps = _equal(folder), len(small_run.log_of(folder / "killed"))
    return Trial(equal and steps == STEPS and not _hidden(folder / "killed"),
                 {**counts, "bit_equal": int(equal), "logged_steps": steps})


def full_disks(folder: Path, count: int) -> Trial:
    """A limit on every file's size in place of a full disk: a sentence each time, and the run goes on with room."""
    sentences = 0
    settings = json.dumps({"folder": str(folder / "killed"), "steps": STEPS})
    for number in range(count):
        code = LIMITED.format(limit=1000 * 4**number, settings=settings)
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=_environment(), text=True,
                               capture_output=True)
        last = [line for line in ended.stderr.splitlines() if line.startswith("OSError: ")][-1:]
        is_sentence = any(str(folder / "killed") in line and ".samora_" not in line for line in last)
        sentences += ended.returncode == 0 or is_sentence
    small_run.finish(_start(folder / "killed", pause=0.0))
    equal = _equal(folder)
    return Trial(equal and sentences == count and not _hidden(folder / "killed"),
                 {"full": count, "sentences": sentences, "bit_equal": int(equal)})


def _start(folder: Path, pause: float = PAUSE) -> subprocess.Popen[str]:
    return small_run.start(folder, steps=STEPS, pause=pause)


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def _wait_for_hidden(folder: Path, child: subprocess.Popen[str]) -> bool:
    while child.poll() is None:
        if _hidden(folder):
            return True
    return False


def _hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".samora_*"))


def _equal(folder: Path) -> bool:
    """Whether the run that was disturbed has the weights of one that was not."""
    small_run.finish(_start(folder / "whole", pause=0.0))
    killed, whole = (torch.load(folder / name / "model.pt", weights_only=True) for name in ("killed", "whole"))
    return all(torch.equal(whole[key], killed[key]) for key in whole)
