"""A request says the same after it was written and read; an impossible one is refused in a sentence."""

from __future__ import annotations

import json
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
