"""Runs from nodes to nodes on a real scene: what arrives equals what the library computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from SAMoraLib.checkpoint import load_model
from SAMoraLib.cli import main
from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.inference.predictor import Predictor
from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Region
from SAMoraLib.volume.io import write_volume
from Testing.slicer.scene_volumes import (
    ORDERS,
    ROTATION,
    TURNED,
    add_transform,
    add_volume,
    body,
    label_array,
    load_volume,
    node_ids,
    stored_otherwise,
)
from Testing.slicer.segmenting.watching import only_error, step_until

LABELS = get_label_set("chaos_mr")


def labels_in_scene(path: Path, volume: Any) -> np.ndarray:
    """A label file's values as Slicer loads them, which for a left-handed grid is in another order of slices."""
    import slicer

    from SAMoraSlicer.nodes import geometry_of

    labels = load_volume(path)
    assert np.allclose(geometry_of(labels), geometry_of(volume), rtol=0, atol=1e-6)
    return slicer.util.arrayFromVolume(labels)


def test_the_scene_gets_what_the_command_line_writes(run: Any, checkpoint: Path, tmp_path: Path) -> None:
    """One model load for three volumes: a phantom, an oblique file and one under a transform; two organs."""
    volumes = [make_phantom(3).ct, body(ROTATION), body(-ROTATION)]
    paths = [tmp_path / f"é {number}" / "ct.nrrd" for number in range(3)]
    for path, volume in zip(paths, volumes, strict=True):
        write_volume(volume, path)
    nodes = [load_volume(path) for path in paths]
    nodes[2].SetAndObserveTransformNodeID(add_transform(TURNED).GetID())
    ours = run(nodes, organs=["spleen", "liver"])
    ours.start()
    assert ours.wait(300) and ours.state == "done" and not ours.errors and ours.running_on == "cpu"
    assert ours.fraction == 1 and ours.seconds_left is None
    for path, node in zip(paths, nodes, strict=True):
        output = path.with_name("labels.nrrd")
        assert main(["predict", str(path), "--model", str(checkpoint), "--device", "cpu", "--output", str(output),
                     "--organs", "spleen,liver"]) == 0
        expected, result = labels_in_scene(output, node), ours.results[node.GetID()]
        segmentation = node.GetScene().GetNodeByID(result["segmentation"])
        assert expected.any() and np.array_equal(label_array(segmentation, node, LABELS), expected)
        assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()
        assert [row["name"] for row in result["rows"]] == ["liver", "spleen"]
        assert [row["voxels"] for row in result["rows"]] == [(expected == value).sum() for value in (1, 4)]


def test_skimming_in_the_scene_is_that_of_the_command_line(run: Any, checkpoint: Path, tmp_path: Path) -> None:
    path, output = tmp_path / "ct.nrrd", tmp_path / "labels.nrrd"
    write_volume(make_phantom(3).ct, path)
    node = load_volume(path)
    ours = run([node], organs=["liver"], skim=6)
    ours.start()
    assert ours.wait(300) and not ours.errors
    options = ["predict", str(path), "--model", str(checkpoint), "--device", "cpu", "--output", str(output)]
    assert main([*options, "--organs", "liver", "--skim", "6"]) == 0
    segmentation = node.GetScene().GetNodeByID(ours.results[node.GetID()]["segmentation"])
    assert np.array_equal(label_array(segmentation, node, LABELS), labels_in_scene(output, node))


def test_all_48_orders_straight_oblique_left_handed_and_transformed_agree(run: Any, checkpoint: Path) -> None:
    """Through files, child and scene; then mapped back."""
    predictor = Predictor(*load_model(checkpoint))
    expected, nodes = [], []
    for direction, transform in [(np.eye(3), None), (ROTATION, None), (-ROTATION, TURNED)]:
        labels = predictor.predict(body(direction))
        assert len(np.unique(labels.array)) > 2
        for order, signs in ORDERS:
            nodes.append(add_volume(stored_otherwise(body(direction), order, signs)))
            expected.append(stored_otherwise(labels, order, signs).array)
            if transform is not None:
                nodes[-1].SetAndObserveTransformNodeID(add_transform(transform).GetID())
    ours = run(nodes)
    ours.start()
    assert ours.wait(300) and ours.state == "done" and not ours.errors
    for node, labels in zip(nodes, expected, strict=True):
        segmentation = node.GetScene().GetNodeByID(ours.results[node.GetID()]["segmentation"])
        assert np.array_equal(label_array(segmentation, node, LABELS), labels)
        assert segmentation.GetTransformNodeID() == node.GetTransformNodeID()


def test_a_region_of_the_scene_restricts_the_volume(run: Any, scene: Any, checkpoint: Path) -> None:
    volume, roi = body(ROTATION), scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "ROI")
    centre = (volume.ijk_to_lps @ (12, 11, 3, 1))[:3]
    roi.SetCenter(-centre[0], -centre[1], centre[2])
    roi.SetSize(30, 25, 20)
    node = add_volume(volume)
    ours = run([node], region=roi)
    ours.start()
    assert ours.wait(120) and ours.state == "done"
    half = np.array([15, 12.5, 10])
    region = Region.between(centre - half, centre + half)
    expected = Predictor(*load_model(checkpoint)).predict(volume, region=region).array
    segmentation = scene.GetNodeByID(ours.results[node.GetID()]["segmentation"])
    assert expected.any() and np.array_equal(label_array(segmentation, node, LABELS), expected)


def test_a_refused_volume_does_not_stop_the_others(run: Any, scene: Any) -> None:
    """NaN is found by the child; the sentence names the node, not the temporary file."""
    bad = body(np.eye(3))
    array = bad.array.astype(np.float32)
    array[0, 0, 0] = np.nan
    nodes = [add_volume(bad.with_array(array), "Müller, 患者"), add_volume(body(ROTATION))]
    ours = run(nodes)
    ours.start()
    assert ours.wait(120) and ours.state == "done"
    assert only_error(ours) == ("'Müller, 患者' has 1 voxels that are NaN or infinite; replace them, e.g. by the "
                                "background value.")
    assert list(ours.errors) == [nodes[0].GetID()] and list(ours.results) == [nodes[1].GetID()]
    assert "Müller" not in ours.report()


def test_notices_name_the_volume(run: Any) -> None:
    ours = run([add_volume(body(np.eye(3)), "Leber")], "runs out of memory")
    ours.start()
    ours.wait(60)
    assert ours.notices == ["Memory ran out on cuda:0; 'Leber' starts again in half precision."]


def test_progress_runs_over_all_volumes(run: Any) -> None:
    nodes = [add_volume(body(np.eye(3))), add_volume(body(ROTATION))]
    ours, seen = run(nodes, "hangs after the first"), []
    ours.start()
    step_until(ours, lambda: seen.append((ours.fraction, ours.stage)) or ours.results)
    fractions = [fraction for fraction, _ in seen] + [ours.fraction]
    assert fractions == sorted(fractions) and fractions[-1] == 0.5
    assert ours.seconds_left is not None and ours.seconds_left < 60


def test_the_chosen_output_is_written_to(run: Any, scene: Any) -> None:
    node, output = add_volume(body(np.eye(3))), scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Mine")
    ours = run([node], "works", outputs=[output])
    before = node_ids(scene)
    ours.start()
    assert ours.wait(60) and ours.results[node.GetID()]["segmentation"] == output.GetID()
    assert list(output.GetSegmentation().GetSegmentIDs()) == ["liver"]
    assert set(node_ids(scene)) - set(before) <= {output.GetDisplayNodeID()}
