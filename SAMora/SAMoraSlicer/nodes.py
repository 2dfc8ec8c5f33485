"""Between MRML nodes and files: a volume node out, a label volume in, a region of interest in the volume's own space.

A volume is always taken in its own coordinates, without its parent transform; the result gets the same transform.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

from SAMoraLib.labels import LabelSet
from SAMoraLib.volume import Region, Volume
from SAMoraLib.volume.io import read_volume
from SAMoraLib.volume.io import write_volume as write_file
from SAMoraLib.volume.right_angles import are_perpendicular
from SAMoraSlicer.segments import describe_segment, plain_name, remove_segments, segment_ids

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SAME_PLACE_MM = 1e-3


def check_volume(volume: Any) -> None:
    """Refuse what cannot be segmented.

    Raises:
        ValueError: no volume, no image, a label map, colour, nowhere, sheared, or under a transform that is not linear.
    """
    if volume is None or not volume.IsA("vtkMRMLScalarVolumeNode"):
        raise ValueError("There is no volume to segment; choose one.")
    name, image = volume.GetName(), volume.GetImageData()
    if image is None or not image.GetPointData().GetScalars() or not all(image.GetDimensions()):
        raise ValueError(f"'{name}' holds no image; load its file again or choose another volume.")
    if volume.IsA("vtkMRMLLabelMapVolumeNode"):
        raise ValueError(f"'{name}' is a label map; choose the image that it belongs to, or convert it to a scalar "
                         "volume in the Volumes module.")
    if image.GetNumberOfScalarComponents() != 1:
        raise ValueError(f"'{name}' has {image.GetNumberOfScalarComponents()} values per voxel (colour or vectors); "
                         "choose a volume with one grey value per voxel.")
    if not np.isfinite(_ijk_to_ras(volume)).all() or not np.linalg.norm(_ijk_to_ras(volume)[:3, :3], axis=0).all():
        raise ValueError(f"'{name}' lies nowhere, because its spacing or place is zero or no number; load its file "
                         "again.")
    if not are_perpendicular(_ijk_to_ras(volume)[:3, :3]):
        raise ValueError(f"The axes of '{name}' are not at right angles (a sheared grid, as with gantry tilt); "
                         "resample it with the module Resample Scalar/Vector/DWI Volume, or load it again with "
                         "acquisition geometry regularization and harden its transform.")
    transform = volume.GetParentTransformNode()
    if transform is not None and not transform.IsTransformToWorldLinear():
        raise ValueError(f"'{name}' is under the transform '{transform.GetName()}', which is not linear; harden the "
                         "transform on the volume, or take the volume out of it, in the Transforms module.")


def volume_of(volume: Any) -> Volume:
    """The voxels of a volume node (a view, not a copy) on its own grid."""
    matrix = RAS_TO_LPS @ _ijk_to_ras(volume)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    return Volume(slicer.util.arrayFromVolume(volume), tuple(spacing.tolist()), tuple(matrix[:3, 3].tolist()),
                  tuple((matrix[:3, :3] / spacing).ravel().tolist()))


def geometry_of(volume: Any) -> tuple[float, ...]:
    """What tells two grids apart: size and IJK to RAS; empty for a node without image."""
    image = volume.GetImageData()
    return (*image.GetDimensions(), *_ijk_to_ras(volume).ravel().tolist()) if image is not None else ()


def write_volume(volume: Any, path: str | Path) -> None:
    """Write a volume node, uncompressed, because Slicer stands still while it is written.

    Raises:
        OSError: the file could not be written completely; there is none then.
    """
    write_file(volume_of(volume), path, compressed=False)


def region_of(roi: Any, volume: Any) -> Region:
    """A markups ROI as a region in the own coordinates of ``volume``; the transforms of both count.

    Raises:
        ValueError: it has no extent or place, or it or the volume is under a transform that is not linear.
    """
    to_volume, transforms = vtk.vtkMatrix4x4(), (roi.GetParentTransformNode(), volume.GetParentTransformNode())
    if not all(transform is None or transform.IsTransformToWorldLinear() for transform in transforms):
        raise ValueError(f"'{roi.GetName()}' or '{volume.GetName()}' is under a transform that is not linear; harden "
                         "the transform, or take them out of it, in the Transforms module.")
    if not (np.isfinite(roi.GetSize()).all() and np.isfinite(_array(roi.GetObjectToWorldMatrix())).all()):
        raise ValueError(f"The region '{roi.GetName()}' lies nowhere, because its place or size is no number; delete "
                         "it and draw it anew.")
    if not all(roi.GetSize()):
        raise ValueError(f"The region '{roi.GetName()}' is empty; draw it first, or leave the region out.")
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, transforms[1], to_volume)
    box = RAS_TO_LPS @ _array(to_volume) @ _array(roi.GetObjectToWorldMatrix())  # the box that Slicer shows
    return Region(tuple(box[:3, 3].tolist()), tuple((box[:3, :3] * roi.GetSize()).ravel().tolist()))


def import_labels(source: str | Path | np.ndarray, labels: LabelSet, volume: Any, segmentation: Any = None,
                  organs: Sequence[str] | None = None) -> Any:
    """Bring a label volume into the scene, as segments of one layer whose ids are the organs' names.

    An organ without a voxel gets no segment. In a segmentation that is there already the organs asked for are
    replaced, and all other segments stay.

    Args:
        source: label values on the grid of ``volume``: a file, or an array (D, H, W).
        segmentation: node to write to; None makes one.
        organs: names that were asked for; all by default.

    Returns:
        The segmentation node.

    Raises:
        ValueError: the labels do not fit the volume or the label set, or the segmentation holds other segments under
            another transform; nothing is changed then.
    """
    wanted = labels.names if organs is None else organs
    array = _label_values(source, labels, volume)
    found = [name for name in _present(array, labels) if name in wanted]
    labelmap = _labelmap(array, volume)
    if segmentation is not None:
        _require_same_transform(segmentation, volume, wanted)
    with _unchanged_unless_done(segmentation, volume) as node:
        node.SetAndObserveTransformNodeID(None)  # else the import would resample the labels from world to it
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
        segments = node.GetSegmentation()
        remove_segments(segments, wanted)
        if found and not slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(
                labelmap, node, segment_ids(labels, found)):
            raise ValueError(f"Slicer did not take the labels for '{volume.GetName()}'; write to a new segmentation.")
        for name in found:
            describe_segment(segments.GetSegment(name), labels.by_name(name))
        node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
        _place_under_study(node, volume)
    return node


@contextmanager
def _unchanged_unless_done(segmentation: Any, volume: Any) -> Iterator[Any]:
    """The node to write to, a new one without ``segmentation``; whatever goes wrong leaves the scene as it was."""
    there = _segmentation_nodes()
    restore = _restoring(segmentation) if segmentation is not None else lambda: None
    try:
        if segmentation is None:
            segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", _name_of(volume))
            segmentation.CreateDefaultDisplayNodes()
        yield segmentation
    except BaseException:
        restore()
        for node in [node for node in _segmentation_nodes() if node not in there]:
            slicer.mrmlScene.RemoveNode(node)
        raise


def _restoring(segmentation: Any) -> Callable[[], None]:
    """What brings a segmentation node back to what it is now."""
    before, transform = slicer.vtkSegmentation(), segmentation.GetTransformNodeID()
    role = segmentation.GetReferenceImageGeometryReferenceRole()
    geometry = segmentation.GetNodeReferenceID(role)
    before.DeepCopy(segmentation.GetSegmentation())

    def restore() -> None:
        segmentation.GetSegmentation().DeepCopy(before)
        segmentation.SetAndObserveTransformNodeID(transform)
        segmentation.SetNodeReferenceID(role, geometry)

    return restore


def _segmentation_nodes() -> list[Any]:
    """With their display nodes, which do not go with them."""
    kinds = ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationDisplayNode")
    return [node for kind in kinds for node in slicer.util.getNodesByClass(kind)]


def private_in_scene() -> list[str | Path]:
    """Names and files that a person gave or a scanner wrote: of data, of patients and of studies."""
    nodes = slicer.util.getNodesByClass("vtkMRMLTransformableNode")
    stored = [node.GetStorageNode() for node in nodes if node.GetStorageNode() is not None]
    files = [Path(storage.GetFileName()) for storage in stored if storage.GetFileName()]
    hierarchy, items = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene), vtk.vtkIdList()
    if hierarchy is not None:
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    named = [hierarchy.GetItemName(items.GetId(number)) for number in range(items.GetNumberOfIds())]
    named += [node.GetName() for node in nodes]
    return [*files, *filter(None, named)]


def _name_of(volume: Any) -> str:
    return f"{plain_name(volume.GetName() or '')} segmentation"


def _ijk_to_ras(volume: Any) -> np.ndarray:
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return _array(matrix)


def _array(matrix: Any) -> np.ndarray:
    return np.array(slicer.util.arrayFromVTKMatrix(matrix))


def _label_values(source: str | Path | np.ndarray, labels: LabelSet, volume: Any) -> np.ndarray:
    """The labels as (D, H, W) uint8, known to fit."""
    name, grid = volume.GetName(), volume_of(volume)
    if isinstance(source, np.ndarray):
        array = source
    else:
        found = read_volume(source)
        array = found.array
        if not np.allclose(found.ijk_to_lps, grid.ijk_to_lps, atol=SAME_PLACE_MM):
            raise ValueError(f"The labels for '{name}' lie elsewhere than the volume; segment it again.")
    if array.shape != grid.array.shape:
        raise ValueError(f"The labels for '{name}' have another size than the volume ({_size(array)} and "
                         f"{_size(grid.array)}); segment it again.")
    if array.size and not 0 <= int(array.min()) <= int(array.max()) <= len(labels):
        raise ValueError(f"The labels for '{name}' run from {array.min()} to {array.max()}, but the model has only "
                         f"{len(labels)} organs; segment it again.")
    return np.ascontiguousarray(array, np.uint8)


def _present(array: np.ndarray, labels: LabelSet) -> list[str]:
    """The organs that have a voxel; nearly all are met on a coarse grid, which spares searching the whole for them."""
    met = np.bincount(array[::4, ::4, ::4].ravel(), minlength=len(labels) + 1)
    return [label.name for label in labels if met[label.value] or (array == label.value).any()]


def _size(array: np.ndarray) -> str:
    return " x ".join(map(str, reversed(array.shape)))


def _labelmap(array: np.ndarray, volume: Any) -> Any:
    """A label map node on the grid of ``volume``, outside the scene: nobody sees it come and go."""
    image, matrix = vtk.vtkImageData(), vtk.vtkMatrix4x4()
    image.SetDimensions(*reversed(array.shape))
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(array.ravel(), array_type=vtk.VTK_UNSIGNED_CHAR))
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetAndObserveImageData(image)
    volume.GetIJKToRASMatrix(matrix)
    node.SetIJKToRASMatrix(matrix)
    return node


def _require_same_transform(segmentation: Any, volume: Any, wanted: Sequence[str]) -> None:
    others = [name for name in segmentation.GetSegmentation().GetSegmentIDs() if name not in wanted]
    if others and segmentation.GetTransformNodeID() != volume.GetTransformNodeID():
        raise ValueError(f"'{segmentation.GetName()}' holds other segments and is not under the same transform as "
                         f"'{volume.GetName()}'; write to a new segmentation, or put both under the same transform.")


def _place_under_study(segmentation: Any, volume: Any) -> None:
    """Beside the volume in the subject hierarchy, where the DICOM export looks, unless a person has moved it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item, beside = hierarchy.GetItemByDataNode(segmentation), hierarchy.GetItemByDataNode(volume)
    if item and beside and hierarchy.GetItemParent(item) == hierarchy.GetSceneItemID():
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))
