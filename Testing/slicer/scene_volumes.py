"""Between the library's volumes and nodes of the scene, for tests; written without the module's own code."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Volume

RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
ROTATION = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
TURNED = np.array([[0.0, -1.0, 0.0, 40.0], [0.8, 0.0, -0.6, -9.0], [0.6, 0.0, 0.8, 3.0], [0.0, 0.0, 0.0, 1.0]])
STRETCHED = np.diag([1.5, 0.7, 1.0, 1.0]) @ TURNED
ORDERS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def add_volume(volume: Volume, name: str = "CT") -> Any:
    """A scalar volume node with these voxels at this place."""
    import slicer

    return slicer.util.addVolumeFromArray(volume.array, RAS @ volume.ijk_to_lps, name)


def load_volume(path: Path) -> Any:
    """A volume node as Slicer's Add Data makes it."""
    import slicer

    storage, node = slicer.vtkMRMLVolumeArchetypeStorageNode(), slicer.vtkMRMLScalarVolumeNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    node.SetName(path.parent.name)
    return slicer.mrmlScene.AddNode(node)


def add_transform(matrix: np.ndarray, name: str = "Transform") -> Any:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def label_array(segmentation: Any, volume: Any, labels: LabelSet) -> np.ndarray:
    """The segments exported to the grid of ``volume``, as label values (D, H, W)."""
    import slicer

    found = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for label in labels:
        if segmentation.GetSegmentation().GetSegment(label.name):
            mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, label.name, volume)
            assert not found[mask > 0].any(), "two segments share a voxel"
            found[mask > 0] = label.value
    return found


def body(direction: np.ndarray, shape: tuple[int, int, int] = (7, 24, 28)) -> Volume:
    """Noise in a box off the centre, so that no flip goes unseen."""
    array = np.full(shape, -1000, np.int16)
    inside = array[:, 4:-3, 3:-6]
    inside[...] = np.random.default_rng(0).integers(-150, 300, inside.shape)
    return Volume(array, (2.0, 2.5, 6.0), (5.0, -7.0, 11.0), tuple(direction.ravel().tolist()))


def stored_otherwise(volume: Volume, order: tuple[int, ...], signs: tuple[int, ...]) -> Volume:
    """The same points of the patient, stored with grid axes in another ``order`` and direction."""
    array = np.transpose(volume.array, [2 - axis for axis in reversed(order)])
    array = np.flip(array, [2 - n for n, sign in enumerate(signs) if sign < 0])
    first = np.array([0, 0, 0, 1])
    for axis, sign in zip(order, signs, strict=True):
        first[axis] = volume.array.shape[2 - axis] - 1 if sign < 0 else 0
    direction = np.reshape(volume.direction, (3, 3))[:, order] * signs
    return Volume(np.ascontiguousarray(array), tuple(volume.spacing[axis] for axis in order),  # type: ignore[arg-type]
                  tuple((volume.ijk_to_lps @ first)[:3].tolist()), tuple(direction.ravel().tolist()))


def node_ids(scene: Any) -> list[str]:
    """What the scene holds: to compare before and after."""
    return [scene.GetNthNode(number).GetID() for number in range(scene.GetNumberOfNodes())]
