"""Half precision: the type that each device is fast in, and a CPU that is not is told so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from SAMoraLib.inference.device import check_half, half_type
from Testing.refusals import refusal

CPU = torch.device("cpu")


def cpu_with(folder: Path, flags: str) -> Path:
    listed = folder / "cpuinfo"
    listed.write_text(f"processor : 0\nflags : fpu avx512f {flags}\n", encoding="utf-8")
    return listed


def test_a_cpu_without_bfloat16_is_refused(tmp_path: Path) -> None:
    said = refusal(lambda: check_half(CPU, cpu_with(tmp_path, "avx512_vnni")))
    assert said.startswith("This CPU does not multiply in bfloat16") and "choose full precision, or a GPU" in said


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16 amx_tile", "asimd bf16"])
def test_a_cpu_with_bfloat16_is_taken(tmp_path: Path, flag: str) -> None:
    check_half(CPU, cpu_with(tmp_path, flag))


def test_what_lists_nothing_is_believed(tmp_path: Path) -> None:
    check_half(CPU, tmp_path / "missing")
    check_half(torch.device("cuda:0"), cpu_with(tmp_path, ""))


def test_every_device_has_its_type() -> None:
    assert [half_type(torch.device(name)) for name in ("cpu", "cuda:1", "mps")] == [
        torch.bfloat16, torch.float16, torch.float16]
