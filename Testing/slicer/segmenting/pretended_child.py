"""A child that behaves badly on purpose: its first argument says how, the others are those of the real child.

It reads the real request and speaks the real JSON lines, so that what happens to the real child can be had at will.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import numpy as np

from SAMoraLib.request import Job, Request
from SAMoraLib.volume.io import read_volume, write_volume


def say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def finish(job: Job) -> None:
    """A result: the lower half of the volume is the first organ."""
    volume = read_volume(job.input)
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[:len(labels) // 2 + 1] = 1
    write_volume(volume.with_array(labels), job.output)
    organ = {"name": "liver", "title": "Liver", "voxels": int(labels.sum()), "volume_ml": 1.0, "mean_intensity": 0.0,
             "confidence": 0.9, "found": True}
    say("result", volume=str(job.input), output=str(job.output), seconds=1.0, organs=[organ])


def main(behaviour: str, request: Request) -> int:
    first, last = request.jobs[0], request.jobs[-1]
    say("ready", model="pretended", device="cpu", volumes=len(request.jobs))
    say("progress", volume=str(first.input), fraction=0.5, stage="segmenting")
    if behaviour == "hangs":
        print("a line that is no event", flush=True)
        time.sleep(600)
    if behaviour == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "is killed after the first":
        finish(first)
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "hangs after the first":
        finish(first)
        time.sleep(600)
    if behaviour == "crashes":
        raise ZeroDivisionError("a bug")
    if behaviour == "ends without a word":
        return 0
    if behaviour == "writes nonsense":
        first.output.write_bytes(b"nonsense")
        say("result", volume=str(first.input), output=str(first.output), seconds=1.0, organs=[])
        return 0
    if behaviour == "runs out of memory":
        say("notice", message=f"Memory ran out on cuda:0; '{first.input.name}' starts again in half precision.")
        say("error", volume=str(last.input), message=f"'{last.input.name}' does not fit into memory; close programs.")
        return 1
    for job in request.jobs:
        finish(job)
    return 0


if __name__ == "__main__":
    arguments = sys.argv[sys.argv.index("--request") + 1:]
    sys.exit(main(sys.argv[1], Request.read(arguments[0])))
