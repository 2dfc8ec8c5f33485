"""A request says the same after it was written and read; an impossible one is refused in a sentence."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from SAMoraLib.request import Job, Options, Request, plan_jobs
from SAMoraLib.volume import Region
from Testing.refusals import refusal

REGION = Region((1.0, 2.0, 3.0), (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 5.0))
JOB = {"input": "a.nrrd", "output": "b.nrrd"}


@pytest.mark.parametrize("folder", ["plain", "with space", "é ü", "患者フォルダ"])
def test_a_request_goes_through_its_file(tmp_path: Path, folder: str) -> None:
    jobs = (Job(tmp_path / folder / "ct.nrrd", tmp_path / "out/ct.seg.nrrd", REGION), Job(Path("a"), Path("b.nii.gz")))
    request = Request(jobs, Path(folder) / "m.safetensors", Path("base.safetensors"),
                      Options(("liver",), "cuda:1", 3, precision="half"))
    request.write(tmp_path / folder / "request.json")
    assert Request.read(tmp_path / folder / "request.json") == request


def test_what_is_left_out_has_defaults() -> None:
    request = Request.from_json({"jobs": [JOB], "model": "m.safetensors"})
    assert request == Request((Job(Path("a.nrrd"), Path("b.nrrd")),), Path("m.safetensors"))


@pytest.mark.parametrize(("change", "message"), [
    ({"jobs": []}, "The request names no volume"),
    ({"jobs": [{"input": "a.nrrd"}]}, "The request is damaged ('output')"),
    ({"jobs": 5}, "The request is damaged"),
    ({"jobs": [JOB | {"region": [1, 2]}]}, "The request is damaged"),
    ({"jobs": [JOB | {"region": {"centre": [0, 0, 0], "edges": [0] * 9}}]}, "The region is flat"),
    ({"jobs": [JOB | {"boxes": ["liver"]}]}, "The request is damaged"),
    ({"jobs": [JOB | {"output": "b.txt"}]}, "'b.txt' is not of a format that can be written; choose from"),
    ({"jobs": [JOB | {"output": "a.nrrd"}]}, "The result of 'a.nrrd' would overwrite the input 'a.nrrd'"),
    ({"jobs": [JOB, {"input": "c.nrrd", "output": "a.nrrd"}]}, "The result of 'c.nrrd' would overwrite the input"),
    ({"jobs": [JOB, JOB | {"input": "c.nrrd"}]}, "Two results would be written to one file, 'b.nrrd'"),
    ({"jobs": [JOB | {"output": f"{'b' * 251}.nrrd"}]}, "The name 'bbb"),
    ({"assume_hu": "yes"}, "To assume HU is 'yes'; give true or false."),
    ({"model": None}, "The request is damaged"),
    ({"organs": []}, "No organ is chosen; choose at least one"),
    ({"organs": "liver"}, "The request is damaged (organs are 'liver', not a list of names)"),
    ({"batch_size": 0}, "The batch size is 0"),
    ({"batch_size": "8"}, "The batch size is 8"),
    ({"precision": "int4"}, "Unknown precision 'int4'; choose from full, half, int8."),
    ({"colour": "red"}, "The request is damaged"),
])
def test_impossible_requests_are_refused(change: dict[str, Any], message: str) -> None:
    said = refusal(lambda: Request.from_json({"jobs": [JOB], "model": "m"} | change))
    assert said.startswith(message)


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "\udcff"])
def test_files_that_are_no_request_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_bytes(text.encode(errors="surrogateescape"))
    assert refusal(lambda: Request.read(tmp_path / "r.json")).startswith("The request")


def test_a_missing_request_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no request"):
        Request.read(tmp_path / "r.json")


def test_jobs_are_named_after_their_inputs(tmp_path: Path) -> None:
    inputs = [tmp_path / "a.nii.gz", tmp_path / "B.NRRD", tmp_path / "series"]
    jobs = plan_jobs(inputs, tmp_path / "out", ".mha", REGION)
    assert [job.output.name for job in jobs] == ["a_segmentation.mha", "B_segmentation.mha", "series_segmentation.mha"]
    assert all(job.region == REGION and job.output.parent == tmp_path / "out" for job in jobs)
    assert plan_jobs(inputs[:1], tmp_path / "l.seg.nrrd") == (Job(inputs[0], tmp_path / "l.seg.nrrd"),)


def test_the_file_is_readable_json(tmp_path: Path) -> None:
    Request((Job(Path("ä.nrrd"), Path("b.nrrd"), REGION),), Path("m")).write(tmp_path / "r.json")
    data = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert data["jobs"][0]["region"] == {"centre": list(REGION.centre), "edges": list(REGION.edges)}
    assert data["jobs"][0]["input"] == "ä.nrrd"


def test_boxes_go_through_the_file_and_to_every_job(tmp_path: Path) -> None:
    jobs = plan_jobs([tmp_path / "a.nrrd", tmp_path / "b.nrrd"], tmp_path / "out", boxes={"liver": REGION})
    request = Request(jobs, tmp_path / "m.safetensors")
    request.write(tmp_path / "r.json")
    assert Request.read(tmp_path / "r.json") == request
    assert [dict(job.boxes) for job in request.jobs] == [{"liver": REGION}] * 2


def by_path(path: Path) -> Path:
    return path


def by_link(path: Path) -> Path:
    (path.parent / "link.nii.gz").symlink_to(path.name)
    return path.parent / "link.nii.gz"


def by_hard_link(path: Path) -> Path:
    (path.parent / "hard.nii.gz").hardlink_to(path)
    return path.parent / "hard.nii.gz"


def by_linked_folder(path: Path) -> Path:
    (path.parent.parent / "linked").symlink_to(path.parent)
    return path.parent.parent / "linked" / path.name


def by_a_detour(path: Path) -> Path:
    return path.parent / ".." / path.parent.name / path.name


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two volumes, a checkpoint and its base, all with endings that results may have."""
    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "b.nii.gz", "model.nii.gz", "base.nii.gz"):
        (tmp_path / "in" / name).write_bytes(name.encode())
    return tmp_path / "in"


@pytest.mark.parametrize("name", [by_path, by_link, by_hard_link, by_linked_folder, by_a_detour])
@pytest.mark.parametrize(("read", "kind"), [("a", "input"), ("b", "input"), ("model", "checkpoint"), ("base", "base")])
@pytest.mark.parametrize("first", [True, False])
def test_no_result_replaces_what_is_read(files: Path, name: Callable[[Path], Path], read: str, kind: str, first: bool
                                         ) -> None:
    output = name(files / f"{read}.nii.gz")
    jobs = [Job(files / "a.nii.gz", output), Job(files / "b.nii.gz", files / "new.nii.gz")][::1 if first else -1]
    said = refusal(lambda: Request(tuple(jobs), files / "model.nii.gz", files / "base.nii.gz"))
    assert f"would overwrite the {kind} '{files / read}" in said


def test_a_linked_inputs_target_is_not_replaced_either(files: Path) -> None:
    (files / "ct.nii.gz").symlink_to("b.nii.gz")
    jobs = (Job(files / "ct.nii.gz", files / "b.nii.gz"),)
    assert "would overwrite the input" in refusal(lambda: Request(jobs, files / "model.nii.gz"))


def test_a_request_is_not_replaced_by_its_own_result(files: Path) -> None:
    path = files / "request.nrrd"
    Request((Job(files / "a.nii.gz", path),), files / "m").write(path)
    before = path.read_bytes()
    assert "would overwrite the request" in refusal(lambda: Request.read(path))
    assert path.read_bytes() == before


def test_a_slice_of_a_series_is_not_replaced(files: Path) -> None:
    (files / "series").mkdir()
    (files / "series/1.nrrd").write_bytes(bytes(128) + b"DICM")
    (files / "series/old_segmentation.nrrd").write_bytes(b"NRRD0004")
    for output, is_refused in (("1.nrrd", True), ("old_segmentation.nrrd", False), ("new.nrrd", False)):
        job = Job(files / "series", files / "series" / output)
        if is_refused:
            assert "would overwrite the DICOM file" in refusal(lambda job=job: Request((job,), files / "m"))
        else:
            Request((job,), files / "m")


def test_an_earlier_result_may_be_replaced_also_where_it_is_a_link(files: Path) -> None:
    (files / "old.nii.gz").write_bytes(b"old")
    (files / "linked.nii.gz").symlink_to("old.nii.gz")
    Request((Job(files / "a.nii.gz", files / "old.nii.gz"), Job(files / "b.nii.gz", files / "linked.nii.gz")),
            files / "m")


@pytest.mark.parametrize("other", ["out/x.nii.gz", "out/../out/x.nii.gz", "linked/x.nii.gz"])
def test_two_results_are_not_written_to_one_place(files: Path, other: str) -> None:
    (files / "out").mkdir()
    (files / "linked").symlink_to("out")
    jobs = (Job(files / "a.nii.gz", files / "out/x.nii.gz"), Job(files / "b.nii.gz", files / other))
    assert refusal(lambda: Request(jobs, files / "m")).startswith("Two results would be written to one file, '")


def test_a_result_is_no_folder_and_stands_in_one(files: Path) -> None:
    (files / "folder.nrrd").mkdir()
    for output, message in (("folder.nrrd", "is a folder; name the file"), ("b.nii.gz/x.nrrd", "is not a folder")):
        job = Job(files / "a.nii.gz", files / output)
        assert message in refusal(lambda job=job: Request((job,), files / "m"))


@pytest.mark.parametrize("name", ["labels.dcm", "labels.nhdr", "labels.txt", "labels.nii.zip", "labels.DCM", "l.mgz",
                                  "labels.h5"])
def test_an_ending_that_cannot_be_written_is_no_folder(files: Path, name: str) -> None:
    for inputs in (["a.nii.gz"], ["a.nii.gz", "b.nii.gz"]):
        said = refusal(lambda inputs=inputs: plan_jobs([files / name for name in inputs], files / name))
        assert said.startswith(f"'{name}' is not of a format that can be written; choose from .nii.gz")


def test_one_file_is_not_for_two_inputs(files: Path) -> None:
    inputs = [files / "a.nii.gz", files / "b.nii.gz"]
    said = refusal(lambda: plan_jobs(inputs, files / "labels.nrrd"))
    assert said == f"'{files / 'labels.nrrd'}' names one file for 2 inputs; give a folder."


@pytest.mark.parametrize("count", [1000, 1001])
def test_a_request_may_name_a_thousand_organs(count: int) -> None:
    names = [f"organ_{number}" for number in range(count)]
    if count == 1000:
        assert Request.from_json(WHOLE | {"organs": names}).options.organs == tuple(names)
    else:
        assert "not a list of names" in refusal(lambda: Request.from_json(WHOLE | {"organs": names}))


@pytest.mark.parametrize(("least", "beyond"), [({"batch_size": 1}, {"batch_size": 10**6 + 1}),
                                               ({"skim": 1}, {"skim": 0}), ({"max_memory": 0.5}, {"max_memory": 0})])
def test_little_is_enough(least: dict[str, Any], beyond: dict[str, Any]) -> None:
    Options(**least)
    assert refusal(lambda: Options(**beyond)).startswith("The ")


@pytest.mark.parametrize("name", ["results", "results.2024", "1.5mm", ".cache", "v1.2.3", "2024.05.12"])
def test_a_folder_may_have_a_dot_in_its_name(files: Path, name: str) -> None:
    job, = plan_jobs([files / "a.nii.gz"], files / name)
    assert job.output == files / name / "a_segmentation.seg.nrrd"


@pytest.mark.parametrize("name", ["labels.dcm", "labels.nrrd", "x.nii.gz"])
def test_a_folder_that_is_there_is_one_whatever_its_ending(files: Path, name: str) -> None:
    (files / name).mkdir()
    job, = plan_jobs([files / "a.nii.gz"], files / name)
    assert job.output == files / name / "a_segmentation.seg.nrrd"


@pytest.mark.parametrize("name", ["LICENSE", "notes.txt"])
def test_a_file_that_is_no_label_volume_is_not_replaced(files: Path, name: str) -> None:
    (files / name).write_bytes(b"text")
    assert "is not of a format that can be written" in refusal(lambda: plan_jobs([files / "a.nii.gz"], files / name))


def test_names_that_are_no_text_go_through_the_file(tmp_path: Path) -> None:
    odd = os.fsdecode(b"M\xfcller \\udcfc \xe4")
    request = Request((Job(tmp_path / odd / "ct.nrrd", tmp_path / f"{odd}.nrrd"),), Path("m"))
    request.write(tmp_path / "r.json")
    (tmp_path / "r.json").read_text(encoding="utf-8")
    assert Request.read(tmp_path / "r.json") == request


def test_that_hu_are_assumed_is_written_only_where_it_is_asked_for(tmp_path: Path) -> None:
    for assumed in (True, False):
        request = Request((Job(Path("a.nrrd"), Path("b.nrrd")),), Path("m"), options=Options(assume_hu=assumed))
        request.write(tmp_path / "r.json")
        assert Request.read(tmp_path / "r.json") == request
        assert ("assume_hu" in json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))) == assumed


HUGE, INF, NAN = 10**18, float("inf"), float("nan")
BOX = {"centre": [0, 0, 0], "edges": [9, 0, 0, 0, 9, 0, 0, 0, 9]}
WHOLE = {"jobs": [JOB | {"region": BOX, "boxes": {"liver": BOX}}], "model": "m", "base": "b", "organs": ["liver"],
         "device": "cpu", "batch_size": 8, "skim": 1, "max_memory": 2.5, "precision": "full", "assume_hu": False}


@pytest.mark.parametrize("change", [
    {name: value} for name in WHOLE for value in (True, -1, HUGE, INF, NAN, 1.5, [], {}, "", "\0", "a\0b", [[]], [None])
    if (name, value) not in (("assume_hu", True), ("max_memory", 1.5)) and not (name == "base" and value is None)])
def test_a_wrong_value_in_any_field_is_one_sentence(change: dict[str, Any]) -> None:
    Request.from_json(WHOLE)
    message = refusal(lambda: Request.from_json(WHOLE | change))
    assert message.isprintable() and len(message) < 300


@pytest.mark.parametrize("change", [
    {"input": 3}, {"input": ""}, {"input": "a\0.nrrd"}, {"input": None}, {"input": ["a.nrrd"]}, {"input": "a" * 5000},
    {"output": "b\0.nrrd"}, {"output": {}}, {"output": "b" * 5000 + ".nrrd"}, {"regoin": BOX}, {"region": {}},
    {"region": []}, {"region": BOX | {"centre": "123"}}, {"region": BOX | {"centre": [0, 0, NAN]}},
    {"region": BOX | {"centre": [0, 0, INF]}}, {"region": BOX | {"centre": ["0", "0", "0"]}},
    {"region": BOX | {"edges": [1e308] * 9}}, {"region": BOX | {"edges": [True] * 9}}, {"region": BOX | {"more": 1}},
    {"region": BOX | {"edges": [1.0] * 10**5}}, {"boxes": []}, {"boxes": ""}, {"boxes": {"liver": None}},
    {"boxes": {"liver": BOX | {"centre": [0, 0, HUGE]}}}, {"boxes": {"liver": [0, 0, 0, 1, 1, 1]}}])
def test_a_wrong_value_in_any_job_is_one_sentence(change: dict[str, Any]) -> None:
    message = refusal(lambda: Request.from_json(WHOLE | {"jobs": [WHOLE["jobs"][0] | change]}))
    assert message.isprintable() and message.startswith("The request is damaged") and len(message) < 300


@pytest.mark.parametrize("text", [
    "[" * 99_999, '{"jobs":' * 99_999, '{"max_memory": 1e999}', '{"max_memory": Infinity}', '{"max_memory": NaN}',
    '{"model": "a", "model": "b"}', '{"batch_size": ' + "9" * 9999 + "}", '{"model": "\\ud800"}'])
def test_json_that_nothing_can_be_done_with_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(text)
    assert "is not JSON" in refusal(lambda: Request.read(tmp_path / "request.json"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_nobody_waits_for_a_request_in_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "request.json")
    with pytest.raises(FileNotFoundError):
        Request.read(tmp_path / "request.json")
