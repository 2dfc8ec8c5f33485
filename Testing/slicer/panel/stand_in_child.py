"""The program behind "PythonSlicer" in the panel's tests: segments at once, or misbehaves as SAMORA_TEST_CHILD says.

It is no torch and no model, but a real process that is started, heard, waited for and killed. Any other program that
the panel starts (a download, the list of devices) is run as it is.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path


def say(event: str, **values: object) -> None:
    print(json.dumps({"event": event, **values}), flush=True)


def segment(mode: str, request_file: str) -> int:
    from SAMoraLib.card import read_card
    from SAMoraLib.request import Request

    request = Request.read(request_file)
    labels = read_card(request.model).labels
    if mode == "refuses the model":
        say("error", volume=None, message="The tensors of 'model' cannot be read; download or export it again.")
        return 1
    say("ready", model="stand-in", device="cpu", volumes=len(request.jobs))
    for number, job in enumerate(request.jobs):
        say("progress", volume=str(job.input), fraction=0.3, stage="segmenting")
        if mode == "crashes":
            print("Segmentation fault in a driver", file=sys.stderr, flush=True)
            return 3
        if mode == "is killed":
            os.kill(os.getpid(), signal.SIGKILL)
        while mode == "waits" and not Path(os.environ["SAMORA_TEST_GO_ON"]).exists():
            time.sleep(0.01)
        if mode == "is slow":
            time.sleep(60)
        if mode == "runs short of memory":
            say("notice", message=f"Memory ran out on cuda:0; '{job.input.name}' starts again with 4 slices at once.")
        if mode == "refuses the first volume" and number == 0:
            say("error", volume=str(job.input), message=f"'{job.input.name}' holds voxels that are NaN; replace them.")
            continue
        organs = write_labels(job, request, labels)
        say("result", volume=str(job.input), output=str(job.output), seconds=1.5, organs=organs)
    return 1 if mode == "refuses the first volume" else 0


def write_labels(job, request, labels) -> list[dict[str, object]]:
    """The k-th organ fills slice k; the last one is not found."""
    import numpy as np

    from SAMoraLib.volume import Volume
    from SAMoraLib.volume.io import read_volume, write_segmentation

    image = read_volume(job.input)
    array = np.zeros(image.array.shape, np.uint8)
    kept = [label for label in labels if request.options.organs is None or label.name in request.options.organs]
    for label in kept[:-1] or kept:
        array[label.value - 1] = label.value
    write_segmentation(Volume(array, image.spacing, image.origin, image.direction), labels, job.output)
    return [row(label, int((array == label.value).sum())) for label in kept]


def row(label, voxels: int) -> dict[str, object]:
    return {"name": label.name, "title": label.title, "voxels": voxels, "volume_ml": voxels / 1000, "found": voxels > 0,
            "mean_intensity": 50.0 if voxels else None, "confidence": 0.9 if voxels else None}


if __name__ == "__main__":
    if sys.argv[1:4] == ["-m", "SAMoraLib", "predict"]:
        sys.exit(segment(os.environ["SAMORA_TEST_CHILD"], sys.argv[5]))
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
