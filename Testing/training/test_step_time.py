"""Times of a stage-2 step: by a clock that stands still unless something is done, and by the real one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from SAMoraLib.preprocessing.settings import Preprocessing
from Testing.small import CT, IMAGE_SIZE, SIZE, small_variant
from Testing.training.conftest import Cases
from Training import step_time
from Training.data.manifest import Manifest
from Training.step_time import Plan, Step, as_markdown, loading_seconds, main, measure


def test_times_of_loading_and_of_both_steps(cases, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    cases.add("a")
    cases.manifest(tmp_path, train="a")
    main(["--manifest", str(tmp_path / "manifest.json"), "--encoder", "tiny", "--image-size", "80", "--batch-size", "2",
          "--steps", "1", "--workers", "0", "--device", "cpu", "--cache", str(tmp_path / "cache"), "--json"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny, 80 x 80, batch 2, bfloat16, cpu"
    found = json.loads(lines[-1])
    assert found["samora_to_samed"] == pytest.approx(found["steps"]["samora"] / found["steps"]["samed"])
    assert found["samora_to_samed"] > 1 and 0 < found["waiting"]["0"] < 1
    assert found["loading"]["0"]["slices_per_second"] == pytest.approx(2 / found["loading"]["0"]["seconds"])


CPU = torch.device("cpu")
FOUND = {"loading": {0: {"seconds": 0.25, "slices_per_second": 128.0}, 2: {"seconds": 0.5, "slices_per_second": 64.0}},
         "steps": {"samed": 1.25, "samora": 2.5}, "samora_to_samed": 2.0, "waiting": {0: 0.125, 2: 0.0}}


class Clock:
    """Stands where it was put."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(step_time, "time", clock)
    return clock


def plan(**changes: Any) -> Plan:
    return Plan(**({"encoder": "tiny", "image_size": 32, "batch_size": 2, "steps": 3, "device": CPU} | changes))


class Slow:
    """Five slices; the first batch takes longest, as a first one does."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.asked = clock, list[tuple[int, int]]()

    def __len__(self) -> int:
        return 5

    def __getitem__(self, key: tuple[int, int]) -> Tensor:
        self.clock.now += (100, 100, 1, 1, 2, 3, 9, 9)[len(self.asked)]
        self.asked.append(key)
        return torch.zeros(1)


def test_one_process_prepares_a_batch_in_the_median_of_its_times(clock: Clock) -> None:
    """Batches of 2, 5 and 18 seconds, after a first one that does not count."""
    slices: Any = Slow(clock)
    assert loading_seconds(slices, plan(), 0) == 5
    assert len(slices.asked) == 4 * 2 and {epoch for epoch, _ in slices.asked} == {0, 1}
    assert sorted(index for epoch, index in slices.asked if epoch == 0) == [0, 1, 2, 3, 4]


def test_workers_are_timed_over_all_batches_but_the_first(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """They prepare several at once, so single times say nothing."""
    asked: list[Any] = []

    def loader(slices: object, batch_sampler: list[Any], num_workers: int) -> Iterator[int]:
        asked.append((len(batch_sampler), {len(keys) for keys in batch_sampler}, num_workers))
        for number in range(len(batch_sampler)):
            clock.now += (50, 1, 0, 8)[number]
            yield number

    monkeypatch.setattr(step_time, "DataLoader", loader)
    assert loading_seconds(Slow(clock), plan(), 4) == 3  # type: ignore[arg-type]
    assert asked == [(4, {2}, 4)]


def measured(cases: Cases, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, loading: dict[int, float],
             batch_size: int = 2) -> tuple[dict[str, Any], list[Any]]:
    """What is found where a step of samed takes 2 s and one of samora 3 s, and what the steps were made of."""
    made: list[Any] = []

    class Timed:
        def __init__(self, name: str, batch: list[Tensor], classes: int, plan: Plan) -> None:
            made.append((name, [tuple(tensor.shape) for tensor in batch], classes))
            self.times = iter({"samed": (90, 2, 1, 30), "samora": (90, 3, 40, 1)}[name])

        def __call__(self) -> None:
            clock.now += next(self.times)

    monkeypatch.setattr(step_time, "Step", Timed)
    monkeypatch.setattr(step_time, "loading_seconds", lambda slices, plan, count: loading[count])
    cases.add("a")
    manifest = cases.manifest(folder, train="a")
    return measure(manifest, CT, folder / "cache", plan(batch_size=batch_size), list(loading)), made


def test_steps_are_timed_by_their_medians_after_one_that_does_not_count(cases: Cases, tmp_path: Path, clock: Clock,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    found, made = measured(cases, tmp_path, clock, monkeypatch, {0: 1.0})
    assert found["steps"] == {"samed": 2, "samora": 3} and found["samora_to_samed"] == 1.5
    shapes = [(2, 1, 1, 32, 32), (2, 1, 32, 32)]
    assert made == [("samed", shapes, 4), ("samora", shapes, 4)]


def test_a_batch_may_be_larger_than_the_data(cases: Cases, tmp_path: Path, clock: Clock,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    """Six slices, which then come again."""
    _, made = measured(cases, tmp_path, clock, monkeypatch, {0: 1.0}, batch_size=13)
    assert made[0][1] == [(13, 1, 1, 32, 32), (13, 1, 32, 32)]


def test_one_process_waits_for_all_loading_and_workers_for_what_they_do_not_hide(
        cases: Cases, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of 2 s: 1 s of loading before it is a third of the whole; 8 s beside it leave 6 to wait, 1 s none."""
    found, _ = measured(cases, tmp_path, clock, monkeypatch, {0: 1.0, 1: 8.0, 2: 2.0, 3: 1.0})
    assert found["waiting"] == pytest.approx({0: 1 / 3, 1: 0.75, 2: 0, 3: 0})
    assert found["loading"] == {0: {"seconds": 1, "slices_per_second": 2}, 1: {"seconds": 8, "slices_per_second": 0.25},
                                2: {"seconds": 2, "slices_per_second": 1}, 3: {"seconds": 1, "slices_per_second": 2}}


def test_a_step_trains_what_stage_2_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_time, "get_variant", lambda name, encoder: small_variant(name, SIZE))
    torch.manual_seed(0)
    batch = [torch.rand(1, 1, 1, IMAGE_SIZE, IMAGE_SIZE), torch.ones(1, 1, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.int64)]
    step = Step("samed", batch, 4, plan())
    before = {name: parameter.detach().clone() for name, parameter in step.objective.named_parameters()}
    step()
    moved = {name for name, parameter in step.objective.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved and moved <= {name for name, parameter in step.objective.named_parameters() if parameter.requires_grad}
    assert not any(".blocks." in name and ".lora." not in name for name in moved), "the encoder stays as it is"
    assert all(parameter.grad is None for parameter in step.objective.parameters())


@pytest.mark.parametrize(("device", "waits"), [("cpu", []), ("cuda:1", ["cuda:1"])])
def test_a_gpu_is_waited_for(device: str, waits: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: waited.append(str(device)))
    plan(device=torch.device(device)).wait()
    assert waited == waits


def test_the_table_names_who_loads() -> None:
    assert list(as_markdown(FOUND, plan(batch_size=32))) == [
        "tiny, 32 x 32, batch 32, bfloat16, cpu", "",
        "| loading by | s per batch | slices per s | share of samed's step |", "|---|---|---|---|",
        "| the training process | 0.250 | 128 | 12.5% |", "| 2 workers | 0.500 | 64 | 0.0% |", "",
        "samed: 1.25 s per step", "samora: 2.50 s per step", "samora / samed: 2.00"]


@pytest.mark.parametrize(("modality", "preprocessing"), [
    ("CT", Preprocessing("CT", "hu_window", -125, 275, "none", 224)),
    ("MR", Preprocessing("MR", "percentile", 1, 99.5, "none", 224)),
])
def test_the_papers_setting_is_timed_if_nothing_else_is_said(modality: str, preprocessing: Preprocessing,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    """ViT-B at 224 pixels, 32 slices a step: SAMed's; the window that belongs to the modality."""
    asked: list[tuple[Any, ...]] = []

    def measure(manifest: Manifest, *more: Any) -> dict[str, Any]:
        asked.append(more)
        return FOUND

    monkeypatch.setattr(step_time, "read_manifest", lambda path: SimpleNamespace(modality=modality))
    monkeypatch.setattr(step_time, "measure", measure)
    main(["--manifest", "m.json", "--device", "cpu"])
    assert asked == [(preprocessing, Path("runs/cache/slices"), Plan("vit_b", 224, 32, 3, CPU), [0, 2])]
    assert capsys.readouterr().out.splitlines()[-1] == "samora / samed: 2.00"


def test_json_is_one_more_line_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(step_time, "read_manifest", lambda path: SimpleNamespace(modality="CT"))
    monkeypatch.setattr(step_time, "measure", lambda *_: FOUND)
    main(["--manifest", "m.json", "--device", "cpu", "--json"])
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(json.dumps(FOUND))


def test_a_missing_manifest_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--manifest", str(tmp_path / "none.json")])
    assert stop.value.code == 2 and "none.json" in capsys.readouterr().err
