"""How much HL-Attn adds, and whether it tells the tokens of a window apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from SAMoraLib.checkpoint import save_model
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import CT, FUSION, IMAGE_SIZE, small_card, small_model
from Testing.training.conftest import Cases
from Training import fusion_report
from Training.data.manifest import read_manifest
from Training.data.slices import build_cache
from Training.fusion_report import fusion_shares

IMAGE = torch.rand(2, 1, 1, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(2))


def test_a_new_fusion_adds_nothing() -> None:
    model = small_model("samora")
    for block in model.image_encoder.blocks:
        block.hl_attn.high.o.weight.data.zero_()
    assert [size for size, _ in fusion_shares(model, IMAGE)] == [0.0, 0.0]


def test_equal_attention_is_the_windows_mean_and_sharp_attention_is_not() -> None:
    model = small_model("samora")
    queries = [getattr(block.hl_attn, step).q.weight.data for block in model.image_encoder.blocks
               for step in ("low", "high")]
    for weight in queries:
        weight.zero_()
    # Block 0 has windows of four shapes.
    assert_close(torch.tensor([share for _, share in fusion_shares(model, IMAGE)]), torch.ones(2))
    for weight in queries:
        weight.normal_(std=50, generator=torch.Generator().manual_seed(3))
    assert max(share for _, share in fusion_shares(model, IMAGE)) < 0.99


def test_a_model_without_fusion_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'samed' has no HL-Attn"):
        fusion_shares(small_model("samed"), IMAGE)


def fixed_model(calls: list[list[Tensor]], outputs: list[Tensor]) -> Any:
    """A model whose blocks' fusions say what is given, in as many calls as there are tensors, and so do its blocks."""

    class Fixed(nn.Module):
        def __init__(self, said: list[Tensor], output: Tensor) -> None:
            super().__init__()
            self.fusion, self.said, self.output = nn.Identity(), said, output

        def forward(self, _: Tensor) -> Tensor:
            for windows in self.said:
                self.fusion(windows)
            return self.output

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.variant = SimpleNamespace(name="samora", fusion=SimpleNamespace(kind="hl_attn"))
            self.image_encoder = nn.Module()
            self.image_encoder.blocks = nn.ModuleList(map(Fixed, calls, outputs))

        def forward(self, image: Tensor) -> None:
            for block in self.image_encoder.blocks:
                block(image)

    return Model()


@pytest.mark.parametrize("unit", [1.0, 1e-3, 1e3])
def test_sizes_and_shares_by_hand(unit: float) -> None:
    """Windows (1, 3) and (-3, 1, 2): mean squares 5 and 14 / 3, of their means 4 and 0."""
    first, second = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[-3.0], [1.0], [2.0]]])
    calls = [[unit * first, unit * second], [unit * first]]
    outputs = [unit * torch.full((1, 2, 2, 1), 2.0), unit * torch.full((1, 1, 2, 1), 10.0)]
    found = fusion_shares(fixed_model(calls, outputs), IMAGE)
    together = (10 + 14) / 5
    assert found[0] == pytest.approx(((together / 4) ** 0.5, (2 * 4) / 5 / together))
    assert found[1] == pytest.approx(((5 / 100) ** 0.5, 4 / 5))


def test_a_fusion_of_nothing_has_no_share() -> None:
    assert fusion_shares(fixed_model([[torch.zeros(1, 2, 3)]], [torch.ones(1, 2, 2, 3)]), IMAGE) == [(0.0, 0.0)]


def test_a_model_is_left_as_it_was_but_for_its_mode() -> None:
    model = small_model("samora").train()
    before = [len(module._forward_hooks) for module in model.modules()]
    first, second = fusion_shares(model, IMAGE), fusion_shares(model, IMAGE)
    assert first == second and not model.training
    assert [len(module._forward_hooks) for module in model.modules()] == before


def test_another_fusion_is_refused() -> None:
    model = small_model("samora")
    model.variant = replace(model.variant, fusion=replace(FUSION, kind="hcat"))
    assert refusal(lambda: fusion_shares(model, IMAGE)) == "'samora' has no HL-Attn; give a checkpoint of samora."


@pytest.fixture
def files(cases: Cases, tmp_path: Path) -> list[str]:
    """24 slices for validation, and a checkpoint of four organs."""
    for number, case in enumerate("abcd"):
        cases.add(case, seed=number)
    cases.manifest(tmp_path, validation="a,b,c,d")
    model = small_model("samora")
    save_model(tmp_path / "m.safetensors", model, small_card(model.variant))
    return ["--manifest", str(tmp_path / "manifest.json"), "--checkpoint", str(tmp_path / "m.safetensors"), "--cache",
            str(tmp_path / "cache")]


@pytest.mark.parametrize(("more", "numbers"), [
    ([], [0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15, 16, 18, 19, 21, 23]), (["--slices", "3"], [0, 11, 23]),
    (["--slices", "1"], [0]), (["--slices", "99"], list(range(24))),
])
def test_slices_are_taken_evenly_from_the_first_to_the_last(files: list[str], tmp_path: Path, more: list[str],
                                                            numbers: list[int], monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[Tensor] = []
    monkeypatch.setattr(fusion_report, "fusion_shares", lambda model, image: shown.append(image) or [(0.25, 0.875)] * 2)
    fusion_report.main([*files, *more])
    manifest = read_manifest(tmp_path / "manifest.json")
    cache = build_cache(manifest, manifest.cases, CT, tmp_path / "cache")
    assert torch.equal(shown[0], torch.stack([torch.from_numpy(cache.image(number))[:, None] for number in numbers]))
    assert capsys.readouterr().out.splitlines() == [
        "| block | size | window's share |", "|---|---|---|", "| 0 | 0.250 | 0.88 |", "| 1 | 0.250 | 0.88 |"]


def test_the_command_ends_with_what_is_wrong(files: list[str], tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    model = small_model("samed")
    save_model(tmp_path / "m.safetensors", model, small_card(model.variant))
    with pytest.raises(SystemExit) as stop:
        fusion_report.main(files)
    assert stop.value.code == 2 and "'samed' has no HL-Attn" in capsys.readouterr().err
