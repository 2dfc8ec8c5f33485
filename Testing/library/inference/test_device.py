"""Precision: the type that each device is fast in, and one that is not is told so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from SAMoraLib.inference.device import check_precision, choose_device, half_type
from Testing.refusals import refusal

CPU = torch.device("cpu")


def cpu_with(folder: Path, flags: str) -> Path:
    listed = folder / "cpuinfo"
    listed.write_text(f"processor : 0\nflags : fpu avx512f {flags}\n", encoding="utf-8")
    return listed


def test_a_cpu_without_bfloat16_is_refused(tmp_path: Path) -> None:
    said = refusal(lambda: check_precision("half", CPU, cpu_with(tmp_path, "avx512_vnni")))
    assert said.startswith("This CPU does not multiply in bfloat16") and "choose full precision, or a GPU" in said


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16 amx_tile", "asimd bf16"])
def test_a_cpu_with_bfloat16_is_taken(tmp_path: Path, flag: str) -> None:
    check_precision("half", CPU, cpu_with(tmp_path, flag))


def test_what_lists_nothing_is_believed(tmp_path: Path) -> None:
    check_precision("half", CPU, tmp_path / "missing")
    check_precision("half", torch.device("cuda:0"), cpu_with(tmp_path, ""))
    check_precision("full", CPU, cpu_with(tmp_path, ""))


@pytest.mark.parametrize(("flags", "exact", "taken"), [
    ("avx512_vnni", True, True), ("avx_vnni", True, True), ("avx512_vnni", False, False), ("avx512_bf16", True, False)])
def test_8_bits_are_for_a_cpu_that_multiplies_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str,
                                                   exact: bool, taken: bool) -> None:
    monkeypatch.setattr("SAMoraLib.inference.device.multiplies_int8", lambda: exact)
    if taken:
        check_precision("int8", CPU, cpu_with(tmp_path, flags))
        return
    said = refusal(lambda: check_precision("int8", CPU, cpu_with(tmp_path, flags)))
    assert said.startswith("This CPU does not multiply 8-bit integers") and "choose full precision" in said


def test_8_bits_are_not_for_a_gpu() -> None:
    said = refusal(lambda: check_precision("int8", torch.device("cuda:1")))
    assert said == ("Products of 8-bit integers are for CPUs, and the device is cuda:1; choose half precision, or the "
                    "CPU.")


def test_every_device_has_its_type() -> None:
    assert [half_type(torch.device(name)) for name in ("cpu", "cuda:1", "mps")] == [
        torch.bfloat16, torch.float16, torch.float16]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that the machine has so many cards, and that a launcher numbered this process."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)

    def pretend(count: int, mps: bool = False, local: int | None = None) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        if local is not None:
            for name, value in {"RANK": local, "WORLD_SIZE": 8, "LOCAL_RANK": local}.items():
                monkeypatch.setenv(name, str(value))

    return pretend


@pytest.mark.parametrize(("count", "mps", "expected"), [(0, False, "cpu"), (1, False, "cuda:0"), (2, False, "cuda:0"),
                                                        (0, True, "mps")])
def test_auto_is_the_first_gpu_or_the_cpu(gpus: Callable[..., None], count: int, mps: bool, expected: str) -> None:
    gpus(count, mps)
    assert choose_device("auto") == torch.device(expected)


@pytest.mark.parametrize(("local", "expected"), [(0, "cuda:0"), (1, "cuda:1"), (2, "cuda:0"), (3, "cuda:1")])
def test_processes_of_a_launcher_share_the_gpus(gpus: Callable[..., None], local: int, expected: str) -> None:
    gpus(2, local=local)
    assert choose_device("auto") == torch.device(expected)


def test_a_device_may_be_named(gpus: Callable[..., None]) -> None:
    gpus(2)
    assert [choose_device(name) for name in ("cpu", "cuda", "cuda:1")] == [
        torch.device("cpu"), torch.device("cuda:0"), torch.device("cuda:1")]
    assert refusal(lambda: choose_device("cuda:2")) == (
        "Device 'cuda:2' is not on this machine; choose from auto, cpu, cuda:0, cuda:1.")
    assert "choose from auto, cpu" in refusal(lambda: choose_device("mps"))


def test_without_gpus_none_can_be_named(gpus: Callable[..., None]) -> None:
    gpus(0)
    assert refusal(lambda: choose_device("cuda")) == "Device 'cuda' is not on this machine; choose from auto, cpu."
