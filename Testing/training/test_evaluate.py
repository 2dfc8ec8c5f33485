from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from SAMoraLib.card import Card, Preprocessing
from SAMoraLib.checkpoint import save_model
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import build_model
from SAMoraLib.variants import get_variant
from Training.evaluate import evaluate_cases, main, measure
from Training.metrics import dice, hd95
from Training.results import summarise, table, to_csv, write_results


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
    assert spleen["samed"]["hd95"] == hd95(prediction == 4, truth == 4)


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


def test_files_of_a_test_case_must_be_those_prepared(manifest, truth):
    manifest.label_path(manifest.of("test")[0]).write_bytes(b"other")
    with pytest.raises(ValueError, match="has changed"):
        evaluate_cases(manifest, "test", Predictor(truth))


def _row(dice_value, hd95_value=1.0):
    both = {"dice": dice_value, "hd95": hd95_value}
    return {"prediction_ml": 1.0, "reference_ml": 2.0, "strict": both,
            "samed": {"dice": dice_value or 0.0, "hd95": 0.0}, "ma_sam": {"dice": 1.0, "hd95": None}}


def test_means_run_over_cases_then_organs_and_leave_out_what_is_undefined():
    results = [{"case": "x", "organs": {"liver": _row(0.8), "spleen": _row(None, None)}},
               {"case": "y", "organs": {"liver": _row(0.6), "spleen": _row(0.5)}}]
    strict = summarise(results)["strict"]
    assert strict["organs"]["liver"]["dice"] == {"mean": pytest.approx(0.7), "std": pytest.approx(0.1), "cases": 2}
    assert strict["organs"]["spleen"]["dice"] == {"mean": 0.5, "std": 0.0, "cases": 1}
    assert strict["mean"]["dice"] == pytest.approx(0.6)
    assert strict["cases"]["x"]["dice"] == pytest.approx(0.8)
    assert summarise(results)["samed"]["organs"]["spleen"]["dice"]["mean"] == pytest.approx(0.25)
    assert summarise(results)["ma_sam"]["mean"]["hd95"] is None


def test_an_absent_organ_is_null_in_json_and_empty_in_csv(tmp_path):
    empty = np.zeros((3, 4, 5), dtype=bool)
    row = measure(empty, empty, (1.0, 1.0, 2.0))
    assert row["strict"] == {"dice": None, "hd95": None, "nsd": None}
    results = [{"case": "x", "key": "k", "seconds": 1.0, "organs": {"liver": row}}]
    write_results(tmp_path, results, {"split": "test"})
    assert json.loads((tmp_path / "results.json").read_text())["summary"]["strict"]["mean"]["dice"] is None
    (line,) = csv.DictReader((tmp_path / "results.csv").open())
    assert line["strict_dice"] == ""
    assert (line["organ"], line["samed_dice"], line["ma_sam_dice"]) == ("liver", "0.0", "1.0")
    assert "ma_sam_hd95" not in line
    assert to_csv(results) == (tmp_path / "results.csv").read_text()


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


def test_from_checkpoint_to_results(manifest, tmp_path, capsys):
    torch.manual_seed(0)
    variant = get_variant("samed", "tiny")
    card = Card("model", "untrained", variant, 64, get_label_set("chaos_mr"),
                Preprocessing("CT", "hu_window", -125, 275, "body", 64))
    save_model(tmp_path / "c.safetensors", build_model(variant, 4, 64), card)
    command = ["--manifest", str(tmp_path / "out" / "manifest.json"), "--checkpoint", str(tmp_path / "c.safetensors"),
               "--output", str(tmp_path / "results")]
    main(command)
    first = (tmp_path / "results" / "results.json").read_text()
    assert json.loads(first)["name"] == "untrained"
    assert [result["case"] for result in json.loads(first)["results"]] == ["b", "c"]
    assert "right_kidney" in capsys.readouterr().out
    main(command)  # from the stored cases: even the seconds are the same
    assert (tmp_path / "results" / "results.json").read_text() == first
    with pytest.raises(SystemExit, match="no case in the split validation"):
        main([*command, "--split", "validation"])
