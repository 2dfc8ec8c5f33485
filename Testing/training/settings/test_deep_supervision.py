"""The share of the first decoder's loss, epoch by epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from Training.settings.deep_supervision import FORMS, DeepSupervision


def test_agrees_with_h_sam(golden: dict[str, np.ndarray]) -> None:
    second = [1 - DeepSupervision().first_share(epoch) for epoch in range(len(golden["hsam_stage2_weight"]))]
    assert second == pytest.approx(golden["hsam_stage2_weight"].tolist(), abs=1e-7)


def test_the_supplements_decays_from_its_start_to_zero() -> None:
    supervision = DeepSupervision("samora", 0.4, 0.99, 300)
    shares = [supervision.first_share(epoch) for epoch in range(320)]
    assert shares[0] == pytest.approx(0.4)
    assert shares[300:] == [0] * 20 and min(shares[:300]) > 0
    drops = -np.diff(shares[:301])
    assert drops[1:] / drops[:-1] == pytest.approx(0.99)  # exponential


def test_the_papers_decays_by_half_a_percent() -> None:
    supervision = DeepSupervision("exponential", 0.8, math.exp(-0.005))
    assert [supervision.first_share(epoch) for epoch in (0, 200)] == pytest.approx([0.8, 0.8 / math.e])


@pytest.mark.parametrize("form", FORMS)
def test_shares_are_shares(form: str) -> None:
    shares = [DeepSupervision(form).first_share(epoch) for epoch in range(1000)]
    assert all(0 <= share <= 0.4 + 1e-12 for share in shares) and shares == sorted(shares, reverse=True)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"Unknown deep_supervision\.form 'linear'; choose from h_sam, samora, expon"):
        DeepSupervision("linear")
    with pytest.raises(ValueError, match=r"but got first 1\.2, decay 0\.99, epochs 300"):
        DeepSupervision(first=1.2)


@pytest.mark.parametrize("fields", [{"first": -0.01}, {"first": 1.01}, {"decay": 0.0}, {"decay": 1.0}, {"decay": 1.5},
                                    {"decay": -0.5}, {"epochs": 0}, {"epochs": -1}])
def test_what_lies_just_outside_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"needs first in 0\.\.1, decay between 0 and 1 and epochs above 0"):
        DeepSupervision(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [0.0, 1.0])
def test_one_decoder_may_begin_with_everything(form: str, first: float) -> None:
    assert DeepSupervision(form, first).first_share(0) == first


def test_a_decay_over_one_epoch_ends_with_it() -> None:
    supervision = DeepSupervision("samora", 0.4, 0.5, 1)
    assert [supervision.first_share(epoch) for epoch in range(3)] == pytest.approx([0.4, 0, 0])


def test_the_released_codes_share_by_hand() -> None:
    supervision = DeepSupervision("h_sam", 0.75, 0.5)
    assert [supervision.first_share(epoch) for epoch in range(3)] == pytest.approx([0.75, 0.5, 1 - 0.5**0.5])
