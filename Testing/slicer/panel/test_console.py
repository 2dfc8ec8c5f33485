"""`SAMora.SAMoraLogic().segment(...)`: blocking, without pop-ups, one sentence where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from Testing.slicer.bare_checkpoint import write_checkpoint

AddVolume = Callable[..., Any]


def test_a_new_segmentation_or_the_one_that_is_given(module: Any, scene: Any, add_volume: AddVolume,
                                                     child: Any) -> None:
    volume, logic = add_volume(), module.SAMoraLogic()
    first = logic.segment(volume, organs=["liver"])
    assert first.GetName() == "CT segmentation" and first.GetSegmentation().GetSegment("liver") is not None
    assert logic.segment(volume, organs=["spleen"], segmentation=first) == first
    assert {"liver", "spleen"} <= set(first.GetSegmentation().GetSegmentIDs())
    assert scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1


def test_models_by_name_title_and_path(module: Any, add_volume: AddVolume, child: Any, models_folder: Path) -> None:
    path, logic = write_checkpoint(models_folder / "own.safetensors"), module.SAMoraLogic()
    for model in ("own", str(path), "Demonstration (CT, not for patients)"):
        assert logic.segment(add_volume(), model=model, organs=["liver"]) is not None


@pytest.mark.parametrize(("mode", "said"), [
    ("is killed", r"was ended by the system \(signal 9\)"),
    ("crashes", r"ended by itself \(exit code 3\)"),
    ("refuses the first volume", "'CT' holds voxels that are NaN"),
])
def test_a_child_that_fails_raises_and_leaves_the_scene(module: Any, scene: Any, add_volume: AddVolume, child: Any,
                                                        temporary: Path, mode: str, said: str) -> None:
    volume = add_volume()
    child(mode)
    before = scene.GetNumberOfNodes()
    with pytest.raises(RuntimeError, match=said):
        module.SAMoraLogic().segment(volume)
    assert scene.GetNumberOfNodes() == before and list(temporary.iterdir()) == []
