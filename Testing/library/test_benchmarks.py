"""The benchmarks' arithmetic: a ratio that nobody checks may be anything."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from SAMoraLib.demo.phantom import make_phantom
from SAMoraLib.encoders.sam_vit import SamImageEncoder
from SAMoraLib.model import build_encoder, without_memory
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.request import PRECISIONS
from SAMoraLib.variants import get_variant
from SAMoraLib.volume import Volume
from Testing.benchmarks import savings
from Testing.benchmarks.encoders import EncoderRow, operations_of, rows
from Testing.benchmarks.fitted import fit_decoder
from Testing.benchmarks.flops import needed_operations
from Testing.benchmarks.models import ModelRow
from Testing.benchmarks.peak import Limits
from Testing.benchmarks.peers import package_encoder, released_state
from Testing.benchmarks.report import Report, compared, draw, markdown
from Testing.benchmarks.savings import Price, organ_dice, prices, table
from Testing.benchmarks.timing import paired, seconds_of
from Testing.benchmarks.volumes import STAGES, VolumeRow, phantom_of
from Testing.closeness import assert_close
from Testing.refusals import refusal
from Testing.small import SIZE, randomise, small_model

ROW = EncoderRow("samed", 224, 4, 0.1, 0.2, 0.16, 0.5, 0.625, 200e9, 0.5, (0.7, 0.6))
SECONDS = dict(zip(STAGES, (1, 1, 0.5, 6, 1, 0.5), strict=True))
VOLUME = VolumeRow("phantom, 40 slices", (40, 128, 128), 10.0, 700.0, SECONDS)
MODEL = ModelRow("ma_sam", 224, 5, 1, 0.3, 0.25, 1.5)
REPORT = Report("a machine", Limits(400e9, 250e9), [ROW], {"224": 1e-6}, [VOLUME], 1.0, [MODEL])


def test_a_ratio_is_of_slices_and_the_median_of_rounds() -> None:
    pair = paired([4.0, 8.0, 4.0], [1.0, 1.0, 2.0], our_count=4)
    assert (pair.ours, pair.theirs, pair.ratio) == (1.0, 1.0, 1.0)
    assert paired([3.0], [4.0], 1, 2).ratio == 1.5


def test_operations_are_those_that_torch_counts() -> None:
    """Without padding nothing is computed that is not needed."""
    size = replace(SIZE, depth=3, window_size=2)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        package_encoder(size, 32, lora=False)(torch.rand(1, 3, 32, 32))
    positions = 2 * (size.depth + 1) * 16 * size.embed_dim * 4  # by row and column, at most four each
    assert 0 <= counter.get_total_flops() - needed_operations(size, 32) <= positions


@pytest.mark.parametrize("name", rows())
def test_what_is_left_out_of_the_operations_is_little(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Low-rank pairs and positions; nothing that one of the streams does."""
    monkeypatch.setattr("SAMoraLib.kernels.linear.processor_is_half_used", lambda: False)  # torch counts no mkldnn
    variant, streams, _ = rows()[name]
    with without_memory():
        encoder = build_encoder(variant, 224)
    encoder.to_empty(device="cpu")  # nobody looks at what it computes
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder(torch.rand(1, 3, 224, 224))
    assert 1 <= counter.get_total_flops() / operations_of(variant, streams, 224) < 1.04


def test_the_peer_is_the_same_network() -> None:
    torch.manual_seed(0)
    variant = get_variant("samed", encoder_size=SIZE)
    ours = build_encoder(variant, 32).eval()
    randomise(ours)
    package = package_encoder(SIZE, 32, lora=True)
    package.load_state_dict(released_state(ours.state_dict()))
    image = torch.rand(2, 3, 32, 32)
    assert isinstance(ours, SamImageEncoder)
    with torch.inference_mode():
        assert_close(ours(image), package(image))


def test_a_missed_bar_is_said() -> None:
    text = markdown(REPORT)
    assert "| samed | 224 | 4 | 0.100 | 0.50 (0.70) | 0.62 (0.60, missed) | 0.50 | 0.80 |" in text
    assert "matrix products at best 400 GFLOP/s, by torch's linear 250." in text
    assert "| phantom, 40 slices, 128 x 128 x 40 | 10.0 | 1.00 |" in text and "| 0.40 | 700 |" in text
    assert "| ma_sam | 224 | 5 | 0.300 | 1 | 0.250 | 1.50 |" in text


def test_of_a_gpu_that_is_listed_the_share_of_its_data_sheet_is_told() -> None:
    report = replace(REPORT, limits=Limits(700e12, 700e12, 989e12), encoders=[replace(ROW, rate=494.5e12)])
    assert "| of the peak | of torch's linear | MFU |" in markdown(report)
    assert "| 0.50 | 0.71 | 0.50 |" in markdown(report)
    assert report.ratios()["samed 224, MFU"] == 0.5
    assert "MFU" not in markdown(REPORT)


class StandInForEvent:
    """Of a GPU whose work takes 30 ms."""

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.at: float | None = None

    def record(self, stream: object) -> None:
        self.at = 30.0 * GPU.count("recorded")
        GPU.append("recorded")

    def elapsed_time(self, end: StandInForEvent) -> float:
        assert GPU[-1] == "waited" and self.at is not None and end.at is not None
        return end.at - self.at


GPU: list[str] = []


def test_a_gpu_is_timed_by_its_own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    GPU.clear()
    monkeypatch.setattr(torch.cuda, "Event", StandInForEvent)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: GPU.append("waited"))
    assert seconds_of(lambda: GPU.append("worked"), torch.device("cuda:0")) == 0.03
    assert GPU == ["waited", "recorded", "worked", "recorded", "waited"]


def test_another_run_is_compared(tmp_path: Path) -> None:
    (tmp_path / "before.json").write_text(json.dumps(REPORT.to_json()), encoding="utf-8")
    faster = replace(REPORT, encoders=[replace(ROW, ratio_single=0.25)])
    assert "| samed 224 / package, one slice | 0.5 | 0.25 |" in compared(faster, tmp_path / "before.json")
    (tmp_path / "other.json").write_text("[]", encoding="utf-8")
    assert "is no benchmark's JSON" in refusal(lambda: compared(REPORT, tmp_path / "other.json"))


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw(REPORT, tmp_path / "b.png")
    assert (tmp_path / "b.png").stat().st_size > 5000


def test_a_fitted_decoder_has_learned_something() -> None:
    torch.manual_seed(0)
    model = small_model("samed", num_classes=8)
    losses = fit_decoder(model, make_phantom(3, (8.0, 8.0, 8.0)),
                         Preprocessing("CT", "hu_window", -160, 240, "body", 32), steps=60)
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_the_price_of_an_option_is_told() -> None:
    reference, other = np.array([0, 1, 1, 2]), np.array([0, 1, 0, 2])
    found = organ_dice(other, reference, (1, 2, 3))
    assert found[:2] == [2 / 3, 1.0] and math.isnan(found[2])
    assert "| half | 0.75 | 0.9000 | 0.9980 | 0.9960 |" in table("CT", [Price("half", 0.75, 0.9, 0.998, 0.996)])


def test_every_precision_and_skimming_has_a_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model that says organ 1 everywhere, in half precision but for the first slice, and skimming not at all."""
    class Pretended:
        labels = ("liver", "spleen")

        def __init__(self, precision: str, skim: int) -> None:
            self.first, self.label = int(precision == "half"), int(skim == 1)

        def predict(self, volume: Volume) -> Volume:
            labels = np.zeros(volume.array.shape, np.uint8)
            labels[self.first:] = self.label
            return volume.with_array(labels)

    monkeypatch.setattr(savings, "predictor", Pretended)
    volume = Volume(np.zeros((2, 4, 4), np.int16), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    found = {row.name: row for row in prices([volume], [np.ones((2, 4, 4), np.uint8)], 1)}
    assert {option.split()[0] for option in found} == {*PRECISIONS, "skim"}
    assert (found["full"].truth, found["full"].kept, found["int8"].kept) == (1, 1, 1)
    assert found["half"].truth == found["half"].kept == found["half"].worst == pytest.approx(2 / 3)
    assert found["skim 4"].truth == 0
    assert math.isnan(prices([volume], [], 1)[0].truth)


@pytest.mark.parametrize("slices", [3, 40])
def test_a_volume_of_any_length_covers_the_body(slices: int) -> None:
    volume = phantom_of(slices, 48)
    assert volume.array.shape == (slices, 48, 48)
    assert volume.array.min() < -500 and volume.array.max() > 100
    height = volume.spacing[2] * slices
    assert abs(height - phantom_of(10, 48).spacing[2] * 10) < 1e-6
