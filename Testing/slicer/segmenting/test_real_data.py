"""Real volumes through the real scene: what is in the scene equals the command line's label file, voxel for voxel.

They are public and not part of the project: SAMORA_TEST_DATA names a folder with a folder for each.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.checkpoint import save_model
from SAMoraLib.cli import main
from SAMoraLib.demo.demo import CHECKPOINT
from SAMoraLib.labels import get_label_set
from SAMoraLib.request import Options
from Testing.slicer.scene_volumes import label_array, load_volume
from Testing.small import small_card, small_model

DATA = os.environ.get("SAMORA_TEST_DATA")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800),
              pytest.mark.skipif(not DATA, reason="SAMORA_TEST_DATA names no folder of volumes")]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For MR, where the demonstration checkpoint finds nothing: noise of every class."""
    model = small_model("samora")
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_model(path, model, small_card(model.variant))
    return path


@pytest.mark.parametrize(("name", "labels"), [
    ("totalseg_example_ct_3mm/ct.nii.gz", "synapse"), ("chaos_ct_03/ct.nii.gz", "synapse"),
    ("prostatex_0000/mr.nii.gz", "chaos_mr")])
def test_the_scene_equals_the_command_line(scene: Any, untrained: Path, tmp_path: Path, name: str, labels: str) -> None:
    import slicer

    from SAMoraSlicer.nodes import geometry_of
    from SAMoraSlicer.segmenting import Segmenting

    model, source = CHECKPOINT if labels == "synapse" else untrained, Path(DATA or "") / name
    assert main(["predict", str(source), "--model", str(model), "--device", "cpu",
                 "--output", str(tmp_path / "labels.nii.gz")]) == 0
    expected, volume = load_volume(tmp_path / "labels.nii.gz"), load_volume(source)
    assert np.allclose(geometry_of(expected), geometry_of(volume), rtol=0, atol=1e-3)
    run = Segmenting([volume], model, Options(device="cpu"))
    run.start()
    assert run.wait(1000) and run.state == "done", run.errors
    segmentation = scene.GetNodeByID(run.results[volume.GetID()]["segmentation"])
    found = label_array(segmentation, volume, get_label_set(labels))
    assert len(np.unique(found)) > 3 and np.array_equal(found, slicer.util.arrayFromVolume(expected))
    assert segmentation.GetSegmentation().GetNumberOfLayers() == 1
