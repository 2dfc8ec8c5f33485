"""What a batch run remembers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from SAMoraSlicer.cases import Case
from SAMoraSlicer.manifest import DONE, FAILED, Manifest
from Testing.refusals import refusal

RUN = {"model": "small 0123", "organs": "liver,spleen", "format": ".nrrd"}
ORGANS = [{"name": "liver", "title": "Liver", "found": True, "voxels": 3, "volume_ml": 0.03, "mean_intensity": 55.5,
           "confidence": 0.9},
          {"name": "spleen", "title": "Spleen", "found": False, "voxels": 0, "volume_ml": 0.0, "mean_intensity": None,
           "confidence": None}]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    output = tmp_path / "out/腹部 é_segmentation.nrrd"
    output.parent.mkdir()
    output.write_bytes(b"labels")
    return Case("腹部 é", tmp_path / "腹部 é.nrrd", output, (1, 20, 300))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out/manifest.json"


def test_a_case_is_done_only_with_its_result_and_its_input_as_they_were(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=ORGANS)
    again = Manifest(path, RUN)
    assert again.is_done(case)
    assert not again.is_done(replace(case, name="other"))
    assert not again.is_done(replace(case, fingerprint=(1, 20, 301)))
    case.output.unlink()
    assert not again.is_done(case)


def test_a_failed_case_is_not_done(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, FAILED, message="It is broken.")
    again = Manifest(path, RUN)
    assert not again.is_done(case)
    assert again.cases[case.name]["message"] == "It is broken."


@pytest.mark.parametrize("key", RUN)
def test_results_of_another_run_are_refused(path: Path, case: Case, key: str) -> None:
    Manifest(path, RUN).record(case, DONE, organs=[])
    assert f"other {key} ({RUN[key]}, now new)" in refusal(lambda: Manifest(path, RUN | {key: "new"}))


def test_runs_before_there_was_a_choice_were_in_full_precision_of_every_slice(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=[])
    assert Manifest(path, RUN | {"precision": "full", "skim": 1}).is_done(case)
    said = refusal(lambda: Manifest(path, RUN | {"precision": "half", "skim": 1}))
    assert "other precision (full, now half)" in said


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format_version": 1, "run": {}, "cases": {"a": 1}}',
                                     '{"format_version": 1, "run": {}, "cases": {"a": {"status": "?"}}}',
                                     '{"format_version": 2, "run": {}, "cases": {}}', "\x00\xff"])
def test_a_damaged_manifest_is_refused_and_kept(path: Path, case: Case, content: str) -> None:
    path.write_text(content, encoding="latin-1")
    assert "cannot be read; rename or delete it" in refusal(lambda: Manifest(path, RUN))
    assert path.read_text(encoding="latin-1") == content


def test_the_table_has_a_row_for_every_organ(path: Path, case: Case) -> None:
    manifest = Manifest(path, RUN)
    manifest.record(case, DONE, organs=ORGANS)
    manifest.record(replace(case, name="broken"), FAILED, message="It is broken.")
    manifest.write_table(path.with_name("statistics.csv"))
    with path.with_name("statistics.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["volume"], row["organ"], row["found"], row["volume_ml"], row["mean_intensity"], row["confidence"])
            for row in rows] == [("腹部 é", "liver", "True", "0.030", "55.50", "0.9000"),
                                 ("腹部 é", "spleen", "False", "0.000", "", "")]


def test_a_manifest_that_cannot_be_written_leaves_the_old_one(path: Path, case: Case,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Manifest(path, RUN)
    manifest.record(case, DONE, organs=[])
    before = json.loads(path.read_text(encoding="utf-8"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"manifest.json' could not be written \(No space left on device\); check"):
        manifest.record(case, FAILED, message="")
    assert json.loads(path.read_text(encoding="utf-8")) == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["manifest.json", case.output.name]


def test_the_table_holds_the_cases_in_order_and_not_those_that_failed_again(path: Path, case: Case) -> None:
    manifest = Manifest(path, RUN)
    for name in ("b", "a", "c"):
        manifest.record(replace(case, name=name), DONE, organs=ORGANS[:1])
    manifest.record(replace(case, name="c"), FAILED, message="It is broken.")
    manifest.write_table(path.with_name("statistics.csv"))
    with path.with_name("statistics.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["volume"] for row in csv.DictReader(file)] == ["a", "b"]


def test_what_was_recorded_is_there_for_people_and_for_the_next_run(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=[], seconds=1.5)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["run"] == RUN and content["cases"] == {case.name: {
        "status": "done", "input": str(case.input), "output": str(case.output), "fingerprint": [1, 20, 300],
        "organs": [], "seconds": 1.5}}
    assert Manifest(path, RUN).cases == content["cases"]
    assert Manifest(path.with_name("other.json"), RUN).cases == {}
