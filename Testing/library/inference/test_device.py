"""Precision: the type that each device is fast in, and one that is not is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from SAMoraLib.inference.device import check_precision, half_type
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
