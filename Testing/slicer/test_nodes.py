"""Nodes of a real MRML scene: which can be segmented, as files, and regions in them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume.io import read_volume
from Testing.refusals import refusal
from Testing.slicer.full_disk import full_disk
from Testing.slicer.scene_volumes import (
    ORDERS,
    RAS,
    ROTATION,
    STRETCHED,
    TURNED,
    add_transform,
    add_volume,
    body,
    label_array,
    node_ids,
    stored_otherwise,
)

LABELS = get_label_set("synapse")


@pytest.fixture
def nodes(scene: Any) -> Any:
    import SAMoraSlicer.nodes

    return SAMoraSlicer.nodes


@pytest.mark.parametrize("direction", [np.eye(3), ROTATION, -ROTATION], ids=["straight", "oblique", "left-handed"])
def test_a_volume_is_written_as_it_is_in_all_48_orders(nodes: Any, tmp_path: Path, direction: np.ndarray) -> None:
    for order, signs in ORDERS:
        expected = stored_otherwise(body(direction, (3, 4, 5)), order, signs)
        nodes.write_volume(add_volume(expected), tmp_path / "volume.nrrd")
        found = read_volume(tmp_path / "volume.nrrd")
        assert np.array_equal(found.array, expected.array) and found.array.dtype == np.int16
        assert np.allclose(found.ijk_to_lps, expected.ijk_to_lps, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_values_keep_their_type(nodes: Any, tmp_path: Path, kind: str) -> None:
    volume = body(ROTATION)
    volume = volume.with_array(np.abs(volume.array).astype(kind))
    nodes.write_volume(add_volume(volume), tmp_path / "volume.nrrd")
    found = read_volume(tmp_path / "volume.nrrd").array
    assert np.array_equal(found, volume.array) and found.dtype == volume.array.dtype


def test_a_parent_transform_does_not_reach_the_file(nodes: Any, tmp_path: Path) -> None:
    node = add_volume(body(ROTATION))
    node.SetAndObserveTransformNodeID(add_transform(STRETCHED).GetID())
    path = tmp_path / "患者 é" / "volume.nrrd"
    nodes.write_volume(node, path)
    assert np.allclose(read_volume(path).ijk_to_lps, body(ROTATION).ijk_to_lps, rtol=0, atol=1e-9)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of the file size exist on POSIX only")
def test_a_full_disk_leaves_no_half_file(nodes: Any, tmp_path: Path) -> None:
    node = add_volume(body(np.eye(3), (20, 60, 60)))
    with full_disk(20000), pytest.raises(OSError, match="check that the disk has room"):
        nodes.write_volume(node, tmp_path / "volume.nrrd")
    assert not list(tmp_path.iterdir())


def test_usable_volumes_are_accepted(nodes: Any) -> None:
    node = add_volume(body(-ROTATION))
    nodes.check_volume(node)
    node.SetAndObserveTransformNodeID(add_transform(STRETCHED).GetID())
    nodes.check_volume(node)
    nodes.check_volume(add_volume(body(np.eye(3), (1, 24, 28))))


def test_what_cannot_be_segmented_is_refused(nodes: Any, scene: Any) -> None:
    import slicer

    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
    sheared, bent = add_volume(body(np.eye(3)), "Tilted"), add_volume(body(np.eye(3)), "Bent")
    sheared.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(
        np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])))
    bent.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Warp").GetID())
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photo")
    slicer.util.updateVolumeFromArray(colour, np.zeros((2, 3, 4, 3), np.uint8))
    label_map = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.uint8), name="Map",
                                               nodeClassName="vtkMRMLLabelMapVolumeNode")
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "Model")
    for node, message in [(None, "There is no volume"), (model, "There is no volume"),
                          (empty, "'Empty' holds no image"), (label_map, "'Map' is a label map"),
                          (sheared, "The axes of 'Tilted' are not at right angles"),
                          (colour, "'Photo' has 3 values per voxel"), (bent, "'Bent' is under the transform 'Warp'")]:
        assert refusal(lambda node=node: nodes.check_volume(node)).startswith(message)


@pytest.mark.parametrize("roi_transform", [None, TURNED, STRETCHED], ids=["", "roi turned", "roi stretched"])
@pytest.mark.parametrize("volume_transform", [None, TURNED, STRETCHED], ids=["", "volume turned", "volume stretched"])
def test_a_region_holds_the_voxels_that_slicer_finds_in_the_roi(nodes: Any, scene: Any, roi_transform: Any,
                                                                volume_transform: Any) -> None:
    """Slicer is asked for the box's axes and size in the world."""
    import slicer

    volume, turned = body(ROTATION), np.eye(4)
    turned[:3, :3] = [[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]
    turned[:3, 3] = (RAS @ volume.ijk_to_lps @ (13.3, 11.2, 3.1, 1))[:3]
    node, roi = add_volume(volume), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    place = np.linalg.inv(roi_transform if roi_transform is not None else np.eye(4)) @ (
        volume_transform if volume_transform is not None else np.eye(4)) @ turned
    place[:3, :3], _ = np.linalg.qr(place[:3, :3])
    roi.SetSize(20, 30, 25)
    roi.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(place))
    for moved, matrix in ((roi, roi_transform), (node, volume_transform)):
        if matrix is not None:
            moved.SetAndObserveTransformNodeID(add_transform(matrix).GetID())
    found = nodes.region_of(roi, node).mask(volume)
    to_world = RAS @ volume.ijk_to_lps
    if volume_transform is not None:
        to_world = volume_transform @ to_world
    axes, size = np.zeros((3, 3)), np.zeros(3)
    for read, axis in zip((roi.GetXAxisWorld, roi.GetYAxisWorld, roi.GetZAxisWorld), axes, strict=True):
        read(axis)
    roi.GetSizeWorld(size)
    for k, j, i in np.ndindex(*found.shape):
        off_centre = np.abs(axes @ ((to_world @ (i, j, k, 1))[:3] - roi.GetCenterWorld()))
        outside = (off_centre - size / 2).max()
        assert found[k, j, i] == (outside <= 0) or abs(outside) < 1e-3, (k, j, i)
    assert 20 < found.sum() < found.size / 2


def test_regions_that_cannot_be_used_are_refused(nodes: Any, scene: Any) -> None:
    node, roi = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    assert refusal(lambda: nodes.region_of(roi, node)).startswith("The region 'ROI' is empty")
    roi.SetSize(1, 2, 3)
    roi.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Warp").GetID())
    assert "not linear" in refusal(lambda: nodes.region_of(roi, node))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 4)])
def test_a_volume_node_is_seen_on_its_own_grid(nodes: Any, shape: tuple[int, int, int]) -> None:
    expected = body(-ROTATION, shape)
    found = nodes.volume_of(add_volume(expected))
    assert np.array_equal(found.array, expected.array)
    for one, other in ((found.spacing, expected.spacing), (found.origin, expected.origin),
                       (found.direction, expected.direction)):
        assert len(one) == len(other) and one == pytest.approx(other)


def test_the_geometry_tells_grids_apart_and_not_their_voxels(nodes: Any, scene: Any) -> None:
    node, same = add_volume(body(ROTATION)), add_volume(body(ROTATION))
    nodes.volume_of(same).array[...] = 0
    assert nodes.geometry_of(node) == nodes.geometry_of(same) and nodes.geometry_of(node)[:3] == (28, 24, 7)
    for other in (body(ROTATION, (6, 24, 28)), body(-ROTATION)):
        assert nodes.geometry_of(add_volume(other)) != nodes.geometry_of(node)
    assert nodes.geometry_of(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) == ()


def test_only_what_bends_is_refused_of_transforms(nodes: Any, scene: Any) -> None:
    node, roi = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(0, 0, 0)
    roi.SetSize(1, 2, 3)
    assert len(nodes.region_of(roi, node).centre) == 3
    node.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "Warp").GetID())
    assert "'ROI' or 'CT' is under a transform that is not linear" in refusal(lambda: nodes.region_of(roi, node))


@pytest.mark.parametrize("size", [(0, 2, 3), (1, 0, 3), (1, 2, 0)])
def test_a_region_that_is_flat_is_empty(nodes: Any, scene: Any, size: tuple[int, int, int]) -> None:
    node, roi = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetSize(*size)
    assert refusal(lambda: nodes.region_of(roi, node)).startswith("The region 'ROI' is empty")


def test_a_regions_sides_are_those_that_were_drawn(nodes: Any, scene: Any) -> None:
    node, roi = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    roi.SetCenter(10, 20, 30)
    roi.SetSize(2, 4, 6)
    region = nodes.region_of(roi, node)
    assert region.centre == pytest.approx((-10, -20, 30))
    assert np.abs(np.reshape(region.edges, (3, 3))) == pytest.approx(np.diag([2, 4, 6]))


def test_a_tiny_organ_between_the_coarse_grids_points_is_found(nodes: Any) -> None:
    """One voxel each, at every offset."""
    shape = (5, 6, 7)
    node = add_volume(body(np.eye(3), shape))
    for place in [(0, 0, 0), (4, 4, 4), (1, 0, 0), (0, 5, 0), (0, 0, 3), (2, 3, 5)]:
        labels = np.zeros(shape, np.uint8)
        labels[place] = LABELS.by_name("pancreas").value
        segmentation = nodes.import_labels(labels, LABELS, node)
        assert list(segmentation.GetSegmentation().GetSegmentIDs()) == ["pancreas"]
        assert np.array_equal(label_array(segmentation, node, LABELS), labels)


def test_only_the_organs_that_were_asked_for_arrive(nodes: Any) -> None:
    node, labels = add_volume(body(np.eye(3), (4, 4, 4))), np.zeros((4, 4, 4), np.uint8)
    labels[0], labels[1] = LABELS.by_name("liver").value, LABELS.by_name("spleen").value
    for organs, expected in ((["liver"], ["liver"]), (None, ["spleen", "liver"]), (["aorta"], [])):
        segmentation = nodes.import_labels(labels, LABELS, node, organs=organs)
        assert list(segmentation.GetSegmentation().GetSegmentIDs()) == expected


@pytest.mark.parametrize(("value", "fits"), [(0, True), (8, True), (9, False), (-1, False)])
def test_labels_are_those_of_the_model(nodes: Any, scene: Any, value: int, fits: bool) -> None:
    node, labels = add_volume(body(np.eye(3), (2, 3, 4))), np.full((2, 3, 4), value, np.int16)
    before = node_ids(scene)
    if fits:
        assert nodes.import_labels(labels, LABELS, node) is not None
    else:
        assert f"run from {value} to {value}, but the model has only 8 organs" in refusal(
            lambda: nodes.import_labels(labels, LABELS, node))
        assert node_ids(scene) == before


def test_a_segmentation_that_a_person_has_moved_stays_there(nodes: Any, scene: Any) -> None:
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    root = hierarchy.GetSceneItemID()
    study, mine = (hierarchy.CreateFolderItem(root, name) for name in ("Study", "Mine"))
    node, labels = add_volume(body(np.eye(3), (2, 3, 4))), np.ones((2, 3, 4), np.uint8)
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), study)
    segmentation = nodes.import_labels(labels, LABELS, node)
    item = hierarchy.GetItemByDataNode(segmentation)
    assert hierarchy.GetItemParent(item) == study
    hierarchy.SetItemParent(item, mine)
    nodes.import_labels(labels, LABELS, node, segmentation)
    assert hierarchy.GetItemParent(item) == mine


def test_a_segmentation_of_nothing_but_what_is_replaced_moves_to_the_volumes_transform(nodes: Any, scene: Any) -> None:
    node, labels = add_volume(body(np.eye(3), (2, 3, 4))), np.ones((2, 3, 4), np.uint8)
    segmentation = nodes.import_labels(labels, LABELS, node)
    node.SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    assert nodes.import_labels(labels, LABELS, node, segmentation, ["spleen"]) is segmentation
    assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
    node.SetAndObserveTransformNodeID(None)
    said = refusal(lambda: nodes.import_labels(labels, LABELS, node, segmentation, ["liver"]))
    assert "holds other segments and is not under the same transform" in said


def test_names_and_files_of_the_scene_are_private(nodes: Any, scene: Any) -> None:
    """Of data, with a file and without, and of what the subject hierarchy holds above them: patients and studies."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    stored, loose = add_volume(body(np.eye(3)), "Stored"), add_volume(body(np.eye(3)), "Loose")
    for node, file in ((stored, "/srv/Klinik/ct.nii"), (loose, None)):
        storage = scene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
        if file:
            storage.SetFileName(file)
        node.SetAndObserveStorageNodeID(storage.GetID())
    scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Tumour of Meyer")
    patient = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Meyer^Eva")
    hierarchy.CreateFolderItem(patient, "Study of May")
    found = nodes.private_in_scene()
    assert [path for path in found if isinstance(path, Path)] == [Path("/srv/Klinik/ct.nii")]
    assert {"Stored", "Loose", "Tumour of Meyer", "Meyer^Eva", "Study of May"} <= set(found) and "" not in found
