"""Numbers computed by the published code: readers of ``../shared/golden``, which is not part of the repository."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from SAMoraLib.variants import EncoderSize
from SAMoraLib.weights.tensors import read_safetensors
from Testing.folders import SHARED


@dataclass(frozen=True)
class Golden:
    """One fixture: its configuration, and inputs and outputs by name."""

    folder: Path

    @cached_property
    def meta(self) -> dict[str, Any]:
        return json.loads((self.folder / "meta.json").read_text(encoding="utf-8"))

    @cached_property
    def io(self) -> dict[str, Tensor]:
        with np.load(self.folder / "io.npz") as arrays:
            return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}

    def weights(self, name: str) -> dict[str, Tensor]:
        return read_safetensors(self.folder / f"{name}.safetensors")


def fixtures(system: str) -> list[Any]:
    """Every fixture of a system as a test parameter; one skipped parameter where there is none."""
    folders = sorted((SHARED / "golden" / system).glob("public*"))
    if not folders:
        skip = pytest.mark.skip(reason=f"needs ../shared/golden/{system}, which is not part of the repository")
        return [pytest.param(None, marks=skip)]
    return [pytest.param(Golden(folder), id=folder.name) for folder in folders]


def key_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """A published state dict's keys and shapes, from ``../shared/keys``; skips where they are not there."""
    path = SHARED / "keys" / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"needs ../shared/keys/{name}.txt, which is not part of the repository")
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {key: tuple(int(n) for n in shape.strip("()").split(",") if n.strip()) for key, shape, *_ in lines}


def assert_golden(actual: Tensor, reference: Tensor) -> None:
    """The tolerance of ``golden/README.md``: |a - b| <= 1e-4 max(1, std) + 1e-4 |b|.

    Where the numbers are small, 1e-3 of their spread. Less would measure rounding: the fixtures' decoders amplify it so
    much that the published code in float32 is itself 1e-4 of the spread away from its own result in float64.
    """
    assert actual.shape == reference.shape
    if reference.numel() == 0:
        return
    spread = float(reference.std()) if reference.numel() > 1 else 1.0
    allowed = min(1e-4 * max(1.0, spread), 1e-3 * spread) + 1e-4 * reference.abs()
    off = (actual.detach() - reference).abs()
    assert (off <= allowed).all(), f"off by up to {off.max():.2e} at a spread of {spread:.2e}"


def sam_size(golden: Golden) -> EncoderSize:
    """The size of a fixture of the system ``sam_vit``."""
    c = golden.meta["constructor"]
    return EncoderSize(c["embed_dim"], c["depth"], c["num_heads"], tuple(c["global_attn_indexes"]),
                       window_size=c["window_size"], out_chans=c["out_chans"], mask_in_chans=c["mask_in_chans"],
                       decoder_heads=c["twoway_heads"], decoder_mlp_dim=c["mlp_dim"], iou_hidden_dim=c["iou_hidden"])
