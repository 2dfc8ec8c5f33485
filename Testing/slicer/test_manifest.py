"""What a batch run remembers."""

from __future__ import annotations

import csv
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SAMoraLib.volume import Volume
from SAMoraLib.volume.io import write_volume
from SAMoraSlicer import manifest as module
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
    return Case("腹部 é", tmp_path / "腹部 é.nrrd", output, (1, 20, 300, "a"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out/manifest.json"


def test_a_case_is_done_only_with_its_result_and_its_input_as_they_were(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=ORGANS)
    again = Manifest(path, RUN)
    assert again.is_done(case)
    assert not again.is_done(replace(case, name="other"))
    assert not again.is_done(replace(case, fingerprint=(1, 20, 300, "b")))
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
    manifest.write()
    before = json.loads(path.read_text(encoding="utf-8"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"manifest.json' could not be written \(No space left on device\); check"):
        manifest.write()
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
    manifest = Manifest(path, RUN)
    manifest.record(case, DONE, organs=[], seconds=1.5)
    facts = case.output.stat()
    manifest.write()
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["run"] == RUN and content["cases"] == {case.name: {
        "status": "done", "input": str(case.input), "output": str(case.output), "fingerprint": [1, 20, 300, "a"],
        "organs": [], "seconds": 1.5, "result": [6, facts.st_mtime_ns]}}
    assert Manifest(path, RUN).cases == content["cases"]
    assert Manifest(path.with_name("other.json"), RUN).cases == {}


def write_labels(path: Path) -> None:
    write_volume(Volume(np.ones((2, 3, 4), np.uint8), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)), path)


def test_what_stands_in_a_results_place_is_looked_at(path: Path, case: Case) -> None:
    """A corrected label volume is a result; an empty file is none, and neither is anything else, which is kept."""
    write_labels(case.output)
    Manifest(path, RUN).record(case, DONE, organs=[])
    write_labels(case.output)
    os.utime(case.output, ns=(0, 0))
    assert Manifest(path, RUN).is_done(case) and not Manifest(path, RUN).is_in_the_way(case)
    case.output.write_bytes(b"")
    assert not Manifest(path, RUN).is_done(case) and not Manifest(path, RUN).is_in_the_way(case)
    case.output.write_bytes(b"something else")
    assert not Manifest(path, RUN).is_done(case) and Manifest(path, RUN).is_in_the_way(case)
    case.output.unlink()
    assert not Manifest(path, RUN).is_done(case) and not Manifest(path, RUN).is_in_the_way(case)


def test_a_result_of_an_older_manifest_is_believed_if_it_is_one(path: Path, case: Case) -> None:
    write_labels(case.output)
    state = {"status": "done", "input": "", "output": "", "fingerprint": [1, 20, 300], "organs": []}
    path.write_text(json.dumps({"format_version": 1, "run": RUN, "cases": {case.name: state}}), encoding="utf-8")
    assert Manifest(path, RUN).is_done(case)


def test_a_killed_run_leaves_its_lines_to_the_next(path: Path, case: Case) -> None:
    first = Manifest(path, RUN)
    first.record(case, DONE, organs=[])
    first.write()
    second = Manifest(path, RUN)
    second.record(replace(case, name="b"), DONE, organs=[])
    second.record(case, FAILED, message="It changed.")
    lines = path.with_suffix(".jsonl").read_bytes()
    for length in range(len(lines)):  # wherever it was killed
        path.with_suffix(".jsonl").write_bytes(lines[:length])
        found = Manifest(path, RUN)
        assert case.name in found.cases and set(found.cases) <= {case.name, "b"}
        found.record(replace(case, name="c"), DONE, organs=[])
        assert "c" in Manifest(path, RUN).cases
    path.with_suffix(".jsonl").write_bytes(lines + b"\nnot JSON\n[1]\n{}\n\xff")
    found = Manifest(path, RUN)
    assert found.cases[case.name]["status"] == FAILED and found.cases["b"]["status"] == DONE
    found.write()
    assert Manifest(path, RUN).cases == found.cases and not path.with_suffix(".jsonl").exists()


def test_a_file_that_no_run_of_the_folder_wrote_is_in_the_way(path: Path, case: Case) -> None:
    assert Manifest(path, RUN).is_in_the_way(case)
    case.output.write_bytes(b"")
    assert not Manifest(path, RUN).is_in_the_way(case), "nothing would be lost"
    case.output.unlink()
    first = Manifest(path, RUN)
    first.begin([case])
    case.output.write_bytes(b"of a run that was killed")
    again = Manifest(path, RUN)
    assert not again.is_in_the_way(case) and not again.is_done(case)
    again.write()
    assert not Manifest(path, RUN).is_in_the_way(case), "nor is it forgotten"
    again.record(case, FAILED, message="It is broken.")
    assert Manifest(path, RUN).is_in_the_way(case), "put there after the run"


def test_a_result_of_an_input_that_changed_is_made_again_unless_somebody_corrected_it(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=[])
    changed = replace(case, fingerprint=(1, 20, 301, "b"))
    assert not Manifest(path, RUN).is_done(changed) and not Manifest(path, RUN).is_in_the_way(changed)
    write_labels(case.output)
    assert Manifest(path, RUN).is_done(case) and Manifest(path, RUN).is_in_the_way(changed)


def test_a_corrected_result_is_looked_at_once(path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Manifest(path, RUN)
    first.record(case, DONE, organs=[])
    write_labels(case.output)
    assert first.is_done(case)
    first.write()
    monkeypatch.setattr("SAMoraSlicer.manifest.is_label_volume", lambda _: pytest.fail("it was looked at before"))
    assert Manifest(path, RUN).is_done(case)


def test_nothing_stays_of_a_run_that_did_nothing(path: Path, case: Case) -> None:
    case.output.unlink()
    manifest = Manifest(path, RUN)
    manifest.begin([case])
    manifest.write()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("name", ["M\udcfcller", "a\u2028b\x85c", "a\nb"])
def test_every_name_is_remembered(path: Path, case: Case, name: str) -> None:
    manifest = Manifest(path, RUN)
    manifest.record(replace(case, name=name), DONE, organs=ORGANS)
    assert set(Manifest(path, RUN).cases) == {name}
    manifest.write()
    manifest.write_table(path.with_name("statistics.csv"))
    assert set(Manifest(path, RUN).cases) == {name}


def test_every_runs_lines_say_whose_they_are(path: Path, case: Case) -> None:
    """Also where the line before was torn."""
    path.with_suffix(".jsonl").write_text('{"format_version": 1, "run": {"mod', encoding="utf-8")
    Manifest(path, RUN).record(case, DONE, organs=[])
    assert "other model" in refusal(lambda: Manifest(path, RUN | {"model": "new"}))


def test_lines_of_another_run_are_refused(path: Path, case: Case) -> None:
    Manifest(path, RUN).record(case, DONE, organs=[])
    assert "other model" in refusal(lambda: Manifest(path, RUN | {"model": "new"}))


def test_a_line_that_cannot_be_written_is_one_sentence(path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match=r"manifest.jsonl' could not be written \(No space left on device\); check"):
        Manifest(path, RUN).record(case, DONE, organs=[])


def whole(**changes: Any) -> dict[str, Any]:
    return {"format_version": 1, "run": RUN, "cases": {"a": {"status": DONE, "organs": ORGANS}}, "begun": {}} | changes


def state(**changes: Any) -> dict[str, Any]:
    return {"cases": {"a": {"status": DONE, "organs": ORGANS} | changes}}


DAMAGES: list[dict[str, Any]] = [
    {"format_version": "1"}, {"run": []}, {"run": "model"}, {"cases": []}, {"cases": None}, {"cases": {"a": None}},
    {"cases": {"a": []}}, {"begun": []}, {"begun": {"a": 5}}, {"begun": None}, state(status=["done"]),
    state(organs={"liver": 1}), state(organs=5), state(organs=["liver"]), state(organs=[{"title": "Liver"}]),
    state(organs=[{"name": 5}]), state(organs=[{"name": "a", "volume_ml": "3"}]),
    state(organs=[{"name": "a", "confidence": [1]}]), state(organs=[{"name": "a", "voxels": {}}])]


@pytest.mark.parametrize("changes", DAMAGES, ids=str)
def test_a_manifest_of_wrong_types_is_refused_and_kept(path: Path, case: Case, changes: dict[str, Any]) -> None:
    assert Manifest(path, RUN).cases == {}
    path.write_text(json.dumps(whole()), encoding="utf-8")
    assert set(Manifest(path, RUN).cases) == {"a"}
    damaged = json.dumps(whole(**changes))
    path.write_text(damaged, encoding="utf-8")
    assert "manifest.json' cannot be read; rename or delete it" in refusal(lambda: Manifest(path, RUN))
    assert path.read_text(encoding="utf-8") == damaged


@pytest.mark.parametrize("text", [
    "[" * 200_000, json.dumps(whole()).replace("0.9", "Infinity"), json.dumps(whole()).replace("0.9", "1e999"),
    json.dumps(whole()).replace("0.9", "1" * 5000), json.dumps(whole()).replace('"run"', '"cases": {}, "run"')])
def test_a_manifest_that_no_reader_can_use_is_refused(path: Path, case: Case, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    assert "manifest.json' cannot be read; rename or delete it" in refusal(lambda: Manifest(path, RUN))


@pytest.mark.parametrize("entry", [
    5, [], "run", None, {"begun": 5}, {"begun": {"a": 5}}, {"name": 5, "state": {"status": DONE}},
    {"name": ["a"], "state": {"status": DONE}}, {"name": "a"}, {"name": "a", "state": 5}, {"state": {"status": DONE}},
    {"name": "a", "state": {"status": {}}}, {"name": "a", "state": {"status": DONE, "organs": [5]}}], ids=str)
def test_a_line_of_wrong_types_says_nothing(path: Path, case: Case, entry: Any) -> None:
    first = Manifest(path, RUN)
    first.record(case, DONE, organs=ORGANS)
    journal = path.with_suffix(".jsonl")
    journal.write_bytes(journal.read_bytes() + b"\n" + json.dumps(entry).encode() + b"\n" + b"[" * 100_000)
    again = Manifest(path, RUN)
    assert again.cases == first.cases and again.begun == {}
    again.write()
    again.write_table(path.with_name("statistics.csv"))


@pytest.mark.parametrize("run", [5, [], None, "model", {"model": ["small 0123"]}, {"model": "\x1b[2J" * 1000}])
def test_lines_of_a_run_of_wrong_types_are_another_runs(path: Path, case: Case, run: Any) -> None:
    path.with_suffix(".jsonl").write_text(json.dumps({"run": run}), encoding="utf-8")
    message = refusal(lambda: Manifest(path, RUN))
    assert "holds results of a run with other model" in message and message.isprintable() and len(message) < 600


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "gone"])
def test_no_line_is_written_through_a_link_and_no_pipe_waited_for(path: Path, case: Case, tmp_path: Path,
                                                                  kind: str) -> None:
    journal, diary = path.with_suffix(".jsonl"), tmp_path / "diary"
    diary.write_text("keep", encoding="utf-8")
    lay = {"link": lambda: journal.symlink_to(diary), "pipe": lambda: os.mkfifo(journal), "folder": journal.mkdir,
           "gone": lambda: journal.symlink_to(tmp_path / "a")}
    opened = Manifest(path, RUN)
    lay[kind]()
    with pytest.raises(OSError, match=r"manifest\.jsonl' could not be written"):
        opened.record(case, DONE, organs=[])
    assert "manifest.jsonl' cannot be read; rename or delete it" in refusal(lambda: Manifest(path, RUN))
    assert diary.read_text(encoding="utf-8") == "keep" and not (tmp_path / "a").exists()


@pytest.mark.parametrize("mean", ["NaN", "Infinity", "-Infinity"])
def test_an_organ_without_a_mean_in_a_manifest_of_before_is_none(path: Path, case: Case, mean: str) -> None:
    opened = Manifest(path, RUN)
    opened.record(case, DONE, organs=[{"name": "liver", "mean_intensity": None}])
    opened.write()
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"mean_intensity": null', f'"mean_intensity": {mean}'), encoding="utf-8")
    assert mean in path.read_text(encoding="utf-8")
    assert Manifest(path, RUN).cases[case.name]["organs"][0]["mean_intensity"] is None


def test_a_journal_that_a_snapshot_shares_is_gone_on_with_in_a_copy(path: Path, case: Case, tmp_path: Path) -> None:
    Manifest(path, RUN).record(case, FAILED, message="m")
    snapshot = tmp_path / "snapshot"
    snapshot.hardlink_to(path.with_suffix(".jsonl"))
    before = snapshot.read_bytes()
    opened = Manifest(path, RUN)
    assert opened.cases[case.name]["status"] == FAILED
    opened.record(case, DONE, organs=[])
    assert snapshot.read_bytes() == before
    assert Manifest(path, RUN).cases[case.name]["status"] == DONE


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
def test_a_link_that_is_laid_at_the_last_moment_gets_no_line(path: Path, case: Case, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "diary").write_text("keep", encoding="utf-8")
    monkeypatch.setattr(module.os.path, "lexists", lambda _: False)
    opened = Manifest(path, RUN)
    path.with_suffix(".jsonl").symlink_to(tmp_path / "diary")
    with pytest.raises(OSError, match="it is a link, or no file"):
        opened.record(case, DONE, organs=[])
    assert (tmp_path / "diary").read_text(encoding="utf-8") == "keep"


@pytest.mark.skipif(os.name == "nt", reason="POSIX files")
@pytest.mark.parametrize("kind", ["pipe", "folder", "gone"])
def test_a_manifest_that_is_no_file_is_refused(path: Path, case: Case, kind: str) -> None:
    {"pipe": lambda: os.mkfifo(path), "folder": path.mkdir, "gone": lambda: path.symlink_to("nowhere")}[kind]()
    assert "manifest.json' cannot be read; rename or delete it" in refusal(lambda: Manifest(path, RUN))


@pytest.mark.slow
def test_the_last_of_ten_thousand_cases_costs_what_the_first_does(path: Path, case: Case) -> None:
    """Time per record at the end within 1.5 of the start, where rewriting made it thousands."""
    manifest, seconds = Manifest(path, RUN), []
    organs = ORGANS * 4
    for number in range(10_000):
        started = time.perf_counter()
        manifest.record(replace(case, name=f"patient_{number:05}/ct"), DONE, organs=organs, seconds=1.0)
        seconds.append(time.perf_counter() - started)
    start, end = np.median(seconds[100:1100]), np.median(seconds[-1000:])
    print(f"record: {1e3 * start:.3f} ms at the start, {1e3 * end:.3f} ms at the end, ratio {end / start:.2f}")
    assert end <= 1.5 * start
    manifest.write()
    assert len(Manifest(path, RUN).cases) == 10_000
