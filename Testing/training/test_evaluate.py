from __future__ import annotations

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from SAMoraLib.card import Card
from SAMoraLib.checkpoint import save_model
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import build_model
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import get_variant
from SAMoraLib.volume.io import read_volume
from Training import evaluate
from Training.evaluate import evaluate_cases, main
from Training.reports.metrics import dice, hd95, nsd
from Training.reports.results import summarise, table


@pytest.fixture
def manifest(cases, tmp_path):
    for seed, case in enumerate("abc"):
        cases.add(case, seed)
    return cases.manifest(tmp_path / "out", train="a", test="b,c")


@pytest.fixture
def truth(cases):
    """The label volume that ``cases`` writes, whatever the case."""
    return cases.add("truth")[1].array


class Predictor:
    """Returns one array for every case, and counts how often it is asked."""

    def __init__(self, array):
        self.array, self.calls = array, 0

    def __call__(self, volume):
        self.calls += 1
        assert volume.array.shape == self.array.shape
        return volume.with_array(self.array)


def test_a_perfect_prediction(manifest, truth):
    results = evaluate_cases(manifest, "test", Predictor(truth))
    assert [result["case"] for result in results] == ["b", "c"]
    summary = summarise(results)
    assert summary["strict"]["mean"] == {"dice": 1, "hd95": 0, "nsd": 1}
    assert summary["samed"]["mean"] == {"dice": 1, "hd95": 0, "nsd": None}
    liver = results[0]["organs"]["liver"]
    assert liver["reference_ml"] == pytest.approx((truth == 1).sum() * 1.5 * 1.5 * 5 / 1000)


def test_numbers_are_those_of_the_metrics(manifest, truth):
    prediction = np.roll(truth, (1, 0, 2), axis=(0, 1, 2))
    spleen = evaluate_cases(manifest, "test", Predictor(prediction))[0]["organs"]["spleen"]
    assert spleen["strict"]["dice"] == dice(prediction == 4, truth == 4)
    assert spleen["strict"]["hd95"] == pytest.approx(hd95(prediction == 4, truth == 4, (5.0, 1.5, 1.5)))
    assert spleen["strict"]["nsd"] == nsd(prediction == 4, truth == 4, 3.0, (5.0, 1.5, 1.5))
    assert spleen["nsd_tolerance_mm"] == 3.0
    assert spleen["samed"]["hd95"] == hd95(prediction == 4, truth == 4)


def test_a_case_says_how_long_its_prediction_took_and_how_large_it_is(manifest, truth, monkeypatch):
    """Neither the reading of files nor the measuring counts."""
    clock = iter([100.25, 102.7504, 110.0, 111.0])
    monkeypatch.setattr(evaluate, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    results = evaluate_cases(manifest, "test", Predictor(np.where(truth == 4, 4, truth == 1)))
    assert [result["seconds"] for result in results] == [2.5, 1.0]
    for organ, number in (("liver", 1), ("spleen", 4)):
        voxels = (truth == number).sum()
        assert voxels and results[0]["organs"][organ]["prediction_ml"] == pytest.approx(voxels * 1.5 * 1.5 * 5 / 1000)
    assert results[0]["organs"]["left_kidney"]["prediction_ml"] == 0
    measured = evaluate.measure(truth == 1, truth == 1, (2.0, 3.0, 7.0))
    assert measured["prediction_ml"] == measured["reference_ml"] == pytest.approx((truth == 1).sum() * 0.042)
    assert measured["strict"] == {"dice": 1, "hd95": 0, "nsd": 1} and measured["ma_sam"]["hd95"] is None


def test_organs_are_matched_by_name(manifest, truth):
    """A model with Synapse's numbers on data with CHAOS's."""
    synapse, chaos = get_label_set("synapse"), get_label_set("chaos_mr")
    prediction = np.zeros_like(truth)
    for label in chaos:
        prediction[truth == label.value] = synapse.by_name(label.name).value
    results = evaluate_cases(manifest, "test", Predictor(prediction), synapse)
    assert list(results[0]["organs"]) == ["liver", "right_kidney", "left_kidney", "spleen"]
    assert summarise(results)["strict"]["mean"]["dice"] == 1


def test_organs_without_reference_are_not_measured(cases, tmp_path):
    _, label = cases.add("a")
    manifest = cases.manifest(tmp_path / "out", "1=liver", test="a")
    results = evaluate_cases(manifest, "test", Predictor(label.array))
    assert list(results[0]["organs"]) == ["liver"]


def test_segmentations_are_kept_in_the_manifests_numbers(manifest, truth, tmp_path):
    synapse, chaos = get_label_set("synapse"), get_label_set("chaos_mr")
    prediction = np.full_like(truth, synapse.by_name("aorta").value)
    prediction[truth == chaos.by_name("spleen").value] = synapse.by_name("spleen").value
    evaluate_cases(manifest, "test", Predictor(prediction), synapse, tmp_path / "cases")
    kept = read_volume(tmp_path / "cases" / "b.nii.gz")
    np.testing.assert_array_equal(kept.array, np.where(truth == 4, 4, 0))
    assert kept.spacing == (1.5, 1.5, 5.0)


def test_finished_cases_are_taken_up(manifest, truth, tmp_path):
    predict, folder = Predictor(truth), tmp_path / "cases"
    first = evaluate_cases(manifest, "test", predict, folder=folder, key="one")
    assert evaluate_cases(manifest, "test", predict, folder=folder, key="one") == first
    assert predict.calls == 2
    (folder / "c.json").unlink()
    evaluate_cases(manifest, "test", predict, folder=folder, key="one")
    assert predict.calls == 3
    evaluate_cases(manifest, "test", predict, folder=folder, key="two")
    assert predict.calls == 5


def test_processes_share_the_cases_and_the_last_one_has_them_all(manifest, truth, tmp_path):
    folder, first, second = tmp_path / "cases", Predictor(truth), Predictor(truth)
    assert [r["case"] for r in evaluate_cases(manifest, "test", first, folder=folder, rank=1, world=2)] == ["c"]
    results = evaluate_cases(manifest, "test", second, folder=folder, rank=0, world=2)
    assert [result["case"] for result in results] == ["b", "c"]
    assert (first.calls, second.calls) == (1, 1)


def test_a_case_of_another_checkpoint_is_not_taken_for_a_share(manifest, truth, tmp_path):
    evaluate_cases(manifest, "test", Predictor(truth), folder=tmp_path / "cases", key="old")
    results = evaluate_cases(manifest, "test", Predictor(truth), folder=tmp_path / "cases", key="new", world=2)
    assert [result["case"] for result in results] == ["b"]


def test_files_of_a_test_case_must_be_those_prepared(manifest, truth):
    manifest.label_path(manifest.of("test")[0]).write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed"):
        evaluate_cases(manifest, "test", Predictor(truth))


@pytest.mark.parametrize("relaxation", [0.0, 0.5])
def test_a_model_that_is_prompted_gets_the_references_boxes(manifest, truth, relaxation):
    """What fills its boxes finds all organs of blocks exactly, unless the boxes are larger."""
    labels, asked = manifest.labels, []

    def fill(image, boxes):
        asked.append(set(boxes))
        found = np.zeros_like(truth)
        for name, box in boxes.items():
            found[box.mask(image)] = labels.by_name(name).value
        return image.with_array(found)

    for result in evaluate_cases(manifest, "test", fill, relaxation=relaxation):
        dice_values = [organ["strict"]["dice"] for organ in result["organs"].values()]
        assert all(value == 1 for value in dice_values) == (relaxation == 0.0)
        assert len(dice_values) == 4
    assert asked == [{"liver", "right_kidney", "left_kidney", "spleen"}] * 2


def test_a_case_without_organs_has_no_boxes_to_ask_with(cases):
    cases.add("liver_alone", numbers=(1,))
    manifest = cases.manifest(cases.folder.parent / "one", test="liver_alone")
    spleen = get_label_set("spleen")
    results = evaluate_cases(manifest, "test", lambda image, boxes: pytest.fail("asked"), spleen, relaxation=0.0)
    assert results[0]["organs"]["spleen"]["prediction_ml"] == 0


def test_table_shows_every_organ_and_the_unit(manifest, truth):
    text = table(summarise(evaluate_cases(manifest, "test", Predictor(truth))))
    assert "HD95 (mm)" in text
    assert "right_kidney" in text
    assert text.splitlines()[-1].split() == ["mean", "1.000", "0.0", "1.000"]


def test_refuses_data_without_a_common_organ(cases, tmp_path):
    _, label = cases.add("a")
    manifest = cases.manifest(tmp_path / "out", "1=liver", test="a")
    kidneys = get_label_set("chaos_mr")
    kidneys = type(kidneys)("kidneys", kidneys.labels[1:3])
    with pytest.raises(ValueError, match="share an organ"):
        evaluate_cases(manifest, "test", Predictor(label.array), kidneys)


def test_pictures_are_drawn_once_per_case(manifest, truth, tmp_path):
    predict, folder = Predictor(truth), tmp_path / "cases"
    evaluate_cases(manifest, "test", predict, folder=folder)
    evaluate_cases(manifest, "test", predict, folder=folder, pictures=True)
    evaluate_cases(manifest, "test", predict, folder=folder, pictures=True)
    assert predict.calls == 4
    assert sorted(path.name for path in folder.iterdir()) == [
        f"{case}.{ending}" for case in "bc" for ending in ("json", "nii.gz", "png")]


def test_from_checkpoint_to_results(manifest, tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    variant = get_variant("samed", "tiny")
    card = Card("model", "untrained", variant, 64, get_label_set("chaos_mr"),
                Preprocessing("CT", "hu_window", -125, 275, "body", 64))
    save_model(tmp_path / "c.safetensors", build_model(variant, 4, 64), card)
    command = ["--manifest", str(tmp_path / "out" / "manifest.json"), "--checkpoint", str(tmp_path / "c.safetensors"),
               "--output", str(tmp_path / "results")]
    main(command)
    first = (tmp_path / "results" / "results.json").read_text(encoding="utf-8")
    assert json.loads(first)["name"] == "untrained"
    assert [result["case"] for result in json.loads(first)["results"]] == ["b", "c"]
    assert "right_kidney" in capsys.readouterr().out
    main(command)  # from the stored cases: even the seconds are the same
    assert (tmp_path / "results" / "results.json").read_text(encoding="utf-8") == first
    (tmp_path / "results" / "results.json").unlink()
    (tmp_path / "results" / "cases" / "c.json").unlink()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    main(command)
    assert "the last process writes the table" in capsys.readouterr().out
    assert not (tmp_path / "results" / "results.json").exists()
    monkeypatch.setenv("RANK", "1")
    main(command)
    shared = json.loads((tmp_path / "results" / "results.json").read_text(encoding="utf-8"))
    assert [result["case"] for result in shared["results"]] == ["b", "c"]
    with pytest.raises(SystemExit, match="no case in the split validation"):
        main([*command, "--split", "validation"])


def test_a_checkpoint_that_is_prompted_is_evaluated_with_boxes(manifest, tmp_path):
    torch.manual_seed(0)
    variant = get_variant("ma_sam_box", "tiny")
    card = Card("model", "untrained", variant, 80, get_label_set("chaos_mr"),
                Preprocessing("MR", "percentile", 1, 99.5, "body", 80))
    save_model(tmp_path / "model.safetensors", build_model(variant, 4, 80), card)
    command = ["--manifest", str(manifest.root / "manifest.json"), "--checkpoint", str(tmp_path / "model.safetensors")]
    for name, more in (("tight", []), ("relaxed", ["--relaxation", "0.3"])):
        main([*command, "--output", str(tmp_path / name), *more])
    found = {name: json.loads((tmp_path / name / "results.json").read_text()) for name in ("tight", "relaxed")}
    assert [found[name]["box_relaxation"] for name in ("tight", "relaxed")] == [0.0, 0.3]
    for one in found["tight"]["results"]:  # the blocks fill their boxes: nothing can be larger than its reference
        assert all(organ["prediction_ml"] <= organ["reference_ml"] for organ in one["organs"].values())
    assert found["tight"]["results"] != found["relaxed"]["results"]


@pytest.mark.parametrize("content", [
    b"", b"{", b"3", b"[]", b"\xff", b"[" * 100_000, b'{"key": "%s"}',
    b'{"key": "%s", "case": "b", "organs": {"liver": 3}}',
    b'{"key": "%s", "case": "b", "organs": {"liver": {"strict": {}, "samed": {}, "ma_sam": {}}}}',
])
def test_a_stored_case_that_nobody_understands_is_measured_again(manifest, truth, tmp_path, content):
    predict, folder = Predictor(truth), tmp_path / "cases"
    first = evaluate_cases(manifest, "test", predict, folder=folder, key="one")
    (folder / "b.json").write_bytes(content.replace(b"%s", first[0]["key"].encode()))
    again = evaluate_cases(manifest, "test", predict, folder=folder, key="one")
    assert [result["organs"] for result in again] == [result["organs"] for result in first]
    assert predict.calls == 3


def test_what_a_killed_evaluation_left_is_removed_when_it_is_old(manifest, truth, tmp_path):
    left = tmp_path / "cases" / ".samora_0123456789abcdef.nii.gz"
    left.parent.mkdir()
    left.write_bytes(b"half")
    evaluate_cases(manifest, "test", Predictor(truth), folder=left.parent)
    assert left.exists(), "another process may be writing"
    os.utime(left, (0, 0))
    evaluate_cases(manifest, "test", Predictor(truth), folder=left.parent)
    assert not left.exists()
