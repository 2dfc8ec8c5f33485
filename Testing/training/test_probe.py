"""The probe: tokens with the class at their centre, a linear classifier by hand, and its rows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from SAMoraLib.card import Card, reference_to
from SAMoraLib.checkpoint import save_expert, save_model
from SAMoraLib.labels import get_label_set
from SAMoraLib.model import build_model
from SAMoraLib.variants import Variant, get_variant
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import CT, IMAGE_SIZE, SIZE, randomise, small_model
from Testing.training.conftest import Cases
from Testing.training.small_cache import random_cases
from Training import probe
from Training.data.few_shot import choose_slices
from Training.probe import Tokens, fit_classifier, load, main, mean_dice, rows, tokens_of

PLAIN = get_variant("sam", "tiny", encoder_size=SIZE)


class Patches(nn.Module):
    """A model whose tokens are its patches' brightness, in two channels; notes what it is asked."""

    def __init__(self, patch: int) -> None:
        super().__init__()
        self.variant = SimpleNamespace(size=SimpleNamespace(patch_size=patch))
        self.image_encoder = SimpleNamespace(tokens=self.tokens)
        self.patch, self.asked = patch, list[tuple[tuple[int, ...], str | None]]()

    def tokens(self, slices: Tensor, adapter: str | None) -> Tensor:
        self.asked.append((tuple(slices.shape), adapter))
        mean = F.avg_pool2d(slices[:, :2], self.patch)
        return (mean * torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)).movedim(1, -1)


@pytest.mark.parametrize("patch", [2, 4])
def test_a_tokens_class_is_its_centre_pixels(tmp_path: Path, patch: int) -> None:
    cache, model = random_cases(tmp_path, a=(6, 8, 8), b=(5, 8, 8)), Patches(patch)
    found = tokens_of(model, "image", cache)  # type: ignore[arg-type]
    side, half = 8 // patch, patch // 2
    labels = np.stack([cache.label(index) for index in range(11)])
    centres = [[labels[:, patch * row + half, patch * column + half] for column in range(side)] for row in range(side)]
    assert np.array_equal(found.classes.unflatten(1, (side, side)), np.moveaxis(np.array(centres), 2, 0))
    assert found.values.shape == (11, side * side, 2)
    means = labels.reshape(11, side, patch, side, patch).mean((2, 4)) / 16
    assert_close(found.values[..., 0].unflatten(1, (side, side)), torch.from_numpy(means).float())
    assert list(found.cases) == ["a"] * 6 + ["b"] * 5
    assert sum(shape[0] for shape, _ in model.asked) == 11 and {shape[1:] for shape, _ in model.asked} == {(3, 8, 8)}
    assert len(model.asked) > 1, "not all slices are in memory at once"
    assert {adapter for _, adapter in model.asked} == {"image"}


def test_rare_classes_count_by_the_root_of_their_rarity() -> None:
    """Of tokens that say nothing: of 1, 4 and 16 of a class, the chances are as 1, 2 and 4; a class never met has none.
    """
    torch.manual_seed(0)
    classes = torch.tensor([0] * 16 + [1] * 4 + [2])
    linear = fit_classifier(torch.zeros(21, 3), classes, 4)
    chances = linear.bias.detach().softmax(0)
    assert chances.tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7, 0], abs=2e-3)
    assert not linear.weight.any()


def test_weights_of_what_can_be_told_apart_stay_finite() -> None:
    """At 1 and -1 they are w and -w with 2 / (1 + exp(2 w)) = 4e-4 w, which is so at 3.63."""
    torch.manual_seed(0)
    linear = fit_classifier(torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1]), 2)
    weight = linear.weight.detach().ravel().tolist()
    assert weight == pytest.approx([3.63, -3.63], abs=0.05)
    assert 2 / (1 + math.exp(2 * 3.63)) == pytest.approx(4e-4 * 3.63, rel=0.05)


def test_dice_is_averaged_over_the_organs_that_a_case_has() -> None:
    """Case a: organ 1 in 2 of 3 and 3 tokens; organ 2 is found where none is and left out. Case b: 2 of 2 and 3."""
    test = Tokens(torch.zeros(3, 4, 1), torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [2, 2, 0, 0]]), ["a", "a", "b"])
    found = torch.tensor([[1, 0, 0, 2], [1, 1, 0, 0], [2, 2, 2, 0]])
    assert mean_dice(found, test, 3) == pytest.approx((4 / 6 + 4 / 5) / 2)


def test_a_perfect_guess_has_a_dice_of_one_and_none_has_zero() -> None:
    classes = torch.tensor([[0, 1, 2, 3], [3, 1, 1, 0]])
    test = Tokens(torch.zeros(2, 4, 1), classes, ["a", "b"])
    assert mean_dice(classes, test, 4) == 1
    assert mean_dice(torch.zeros_like(classes), test, 4) == 0


def separable(seed: int, slices: int = 6) -> Tokens:
    """One channel tells three classes apart, small and far from zero; another is large noise, a third never changes."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(0, 3, (slices, 40), generator=generator)
    telling = 100 + 1e-2 * classes + 1e-4 * torch.randn(classes.shape, generator=generator)
    noise = 1e3 * torch.randn(classes.shape, generator=generator)
    values = torch.stack([telling, noise, torch.full_like(noise, 7.0)], dim=-1)
    return Tokens(values, classes, ["a"] * (slices // 2) + ["b"] * (slices - slices // 2))


def test_channels_of_any_scale_count_alike() -> None:
    torch.manual_seed(0)
    assert probe.probe(separable(0), separable(1), range(6), 3) > 0.95


def test_the_test_slices_are_measured_in_the_training_slices_units() -> None:
    """Not in their own: here all of them are of one class."""
    torch.manual_seed(0)
    train, test = separable(0), separable(1)
    two = test.classes.ravel() == 2
    alone = Tokens(test.values.flatten(0, 1)[two][None], test.classes.ravel()[two][None], ["a"])
    assert probe.probe(train, alone, range(6), 3) > 0.95


def test_slices_that_are_not_chosen_teach_nothing() -> None:
    torch.manual_seed(0)
    train = separable(0)
    train.classes[2:] = train.classes[2:].roll(1)  # of no use
    train.values[2:, :, 0] = 0
    assert probe.probe(train, separable(1), [0, 1], 3) > 0.95


def write_base(folder: Path) -> Path:
    model = small_model("sam", 2)
    save_model(folder / "base.safetensors", model, Card("base", "b", model.variant, IMAGE_SIZE))
    return folder / "base.safetensors"


def write_expert(folder: Path, level: str, base: Path, **card: Any) -> Path:
    variant = get_variant("samed", "tiny", name=f"expert_{level}", adapters=(level,), encoder_size=SIZE)
    torch.manual_seed(0)
    model = build_model(variant, 1, IMAGE_SIZE)
    randomise(model)
    path = folder / f"{level}.safetensors"
    fields = {"kind": "expert", "name": level, "variant": variant, "image_size": IMAGE_SIZE, "preprocessing": CT,
              "base": reference_to(base)} | card
    save_expert(path, model, level, Card(**fields))
    return path


def test_an_encoder_is_loaded_with_an_expert_or_without(tmp_path: Path) -> None:
    base = write_base(tmp_path)
    image, path = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE), write_expert(tmp_path, "patch", base)
    bare, none = load(base, None, PLAIN, IMAGE_SIZE)
    model, name = load(base, path, PLAIN, IMAGE_SIZE)
    assert none is None and name == "patch" and not bare.training and not model.training
    pairs = load_file(path)
    assert pairs and all(torch.equal(value, model.state_dict()[key]) for key, value in pairs.items())
    with torch.inference_mode():
        tokens = bare.image_encoder.tokens(image)
        assert torch.equal(tokens, small_model("sam", 2).image_encoder.tokens(image))
        assert not torch.isclose(model.image_encoder.tokens(image, "patch"), tokens).all()


class Slices:
    """What ``rows`` hands on in place of encoded slices: who is asked, for which of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, scores: dict[tuple[int, ...], float]) -> None:
        self.asked, self.scores, self.loaded = list[tuple[Any, ...]](), scores, list[tuple[Any, ...]]()
        monkeypatch.setattr(probe, "load", self.load)
        monkeypatch.setattr(probe, "tokens_of", lambda model, adapter, cache: SimpleNamespace(cases=cache.cases))
        monkeypatch.setattr(probe, "probe", self.probe)

    def load(self, base: Path, expert: Path | None, plain: Variant, image_size: int) -> tuple[None, None]:
        self.loaded.append((expert, plain.name, plain.encoder_size, image_size))
        return None, None

    def probe(self, train: Any, test: Any, chosen: list[int], count: int) -> float:
        self.asked.append((set(train.cases), set(test.cases), count))
        return self.scores[tuple(chosen)]


def test_rows_have_mean_and_spread_over_the_seeds(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    """Of all slices there is one choice, so no spread."""
    for number, case in enumerate("abc"):
        cases.add(case, seed=number)
    manifest = cases.manifest(tmp_path, train="a,b", test="c")
    base = write_base(tmp_path)
    expert = write_expert(tmp_path, "image", base)
    half = [tuple(choose_slices(["a"] * 6 + ["b"] * 6, 0.5, seed)) for seed in (4, 5)]
    assert half[0] != half[1]
    slices = Slices(monkeypatch, {half[0]: 0.2, half[1]: 0.4, tuple(range(12)): 0.9})
    found = list(rows(base, [expert], manifest, tmp_path / "cache", [0.5, 1.0], [4, 5]))
    assert [(row["expert"], row["fraction"]) for row in found] == [("none", 0.5), ("none", 1.0), (str(expert), 0.5),
                                                                   (str(expert), 1.0)]
    assert [row["dice"] for row in found] == pytest.approx([0.3, 0.9] * 2)
    assert [row["spread"] for row in found] == pytest.approx([0.2 / 2**0.5, 0.0] * 2)
    assert slices.asked == 6 * [({"a", "b"}, {"c"}, 5)], "four organs and the background"
    assert set(slices.loaded) == {(None, "sam", SIZE, IMAGE_SIZE), (expert, "sam", SIZE, IMAGE_SIZE)}


def test_one_seed_has_no_spread(cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, case in enumerate("ab"):
        cases.add(case, seed=number)
    manifest = cases.manifest(tmp_path, train="a", test="b")
    base = write_base(tmp_path)
    Slices(monkeypatch, {tuple(choose_slices(["a"] * 6, 0.5, 7)): 0.25})
    found = list(rows(base, [write_expert(tmp_path, "image", base)], manifest, tmp_path / "cache", [0.5], [7]))
    assert [(row["dice"], row["spread"]) for row in found] == [(0.25, 0.0)] * 2


@pytest.mark.parametrize("change", [{"kind": "model", "labels": get_label_set("spleen")}, {"preprocessing": None}])
def test_what_is_no_expert_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = write_expert(tmp_path, "image", write_base(tmp_path), **change)
    message = refusal(lambda: next(rows(tmp_path, [path], None, tmp_path, [1.0], [1])))  # type: ignore[arg-type]
    assert f"'{path}' is a checkpoint of kind" in message and message.endswith("Training.stage1_expert.")


def test_a_tenth_and_all_are_probed_with_three_seeds_if_nothing_else_is_said(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[Any, ...]] = []
    table = [{"expert": "none", "fraction": 0.1, "dice": 0.5, "spread": 0.0625},
             {"expert": "e", "fraction": 1.0, "dice": 0.75, "spread": 0.0}]
    monkeypatch.setattr(probe, "read_manifest", str)
    monkeypatch.setattr(probe, "rows", lambda *call: asked.append(call) or iter(table))
    main(["--manifest", "m.json", "--base", "b", "--experts", "e", "f", "--output", str(tmp_path / "probe.json")])
    assert asked == [(Path("b"), [Path("e"), Path("f")], "m.json", Path("runs/cache/slices"), [0.1, 1.0], [1, 2, 3])]
    assert json.loads((tmp_path / "probe.json").read_text(encoding="utf-8")) == table
    assert capsys.readouterr().out.splitlines() == ["none: fraction 0.1, Dice 0.500 +- 0.062",
                                                    "e: fraction 1.0, Dice 0.750 +- 0.000"]


def test_help_begins_with_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert stop.value.code == 0 and "How much of the organs a frozen encoder's tokens hold" in said
    assert "python -m Training.probe --manifest" not in said
