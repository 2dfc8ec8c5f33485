"""Who is in which split: the papers' lists, one's own, and cases dealt by chance."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from Testing.refusals import refusal
from Training.datasets.protocol import Source
from Training.datasets.splits import few_shot_cases, parse_splits, published_split, random_splits

SHARES = (0.7, 0.15, 0.15)


def sources(labelled: int, unlabelled: int = 0) -> list[Source]:
    return [Source(f"{n:02d}", Path("i"), Path("l") if n < labelled else None) for n in range(labelled + unlabelled)]


@pytest.mark.parametrize(("name", "sizes"), [
    ("synapse", {"train": 18, "test": 12}), ("btcv", {"train": 24, "test": 6}), ("la", {"train": 80, "test": 20}),
    ("promise12", {"train": 40, "test": 10}),
])
def test_the_papers_splits(name: str, sizes: dict[str, int]) -> None:
    assert Counter(published_split(name).values()) == sizes


@pytest.mark.parametrize(("name", "count"), [("la", 4), ("promise12", 3)])
def test_the_papers_few_cases_are_of_the_training_split(name: str, count: int) -> None:
    cases, split_of = few_shot_cases(name), published_split(name)
    assert len(set(cases)) == count and {split_of[case] for case in cases} == {"train"}


def test_data_sets_without_few_cases() -> None:
    for name in ("", "synapse"):
        assert "name no few-shot cases of this data set" in refusal(lambda name=name: few_shot_cases(name))


def test_split_lists() -> None:
    assert parse_splits(["train=1,2", "test=3"]) == {"1": "train", "2": "train", "3": "test"}
    assert parse_splits(["train=1,,1,", "unlabelled="]) == {"1": "train"} and parse_splits([]) == {}
    assert "Case '1' is in the splits train and test; list" in refusal(lambda: parse_splits(["train=1", "test=1"]))
    assert "Unknown split in 'dev=1'" in refusal(lambda: parse_splits(["dev=1"]))


def test_random_splits_are_seeded_and_keep_their_shares() -> None:
    some = sources(20, 3)
    split_of = random_splits(some, SHARES, seed=3)
    assert Counter(split_of.values()) == {"train": 14, "validation": 3, "test": 3, "unlabelled": 3}
    assert {case for case, split in split_of.items() if split == "unlabelled"} == {"20", "21", "22"}
    assert split_of == random_splits(some[::-1], SHARES, seed=3)
    assert split_of != random_splits(some, SHARES, seed=4)


def test_a_seeds_splits_stay_what_they_were() -> None:
    """Published tables were made with them."""
    assert random_splits(sources(6), (0.5, 0.17, 0.33), seed=7) == {
        "00": "test", "01": "train", "02": "test", "03": "train", "04": "train", "05": "validation"}


@pytest.mark.parametrize(("labelled", "shares", "expected"), [
    (3, SHARES, (1, 1, 1)), (1, (1.0, 0.0, 0.0), (1, 0, 0)), (2, (0.5, 0.0, 0.5), (1, 0, 1)),
    (4, (0.0, 0.5, 0.5), (0, 2, 2)), (10, (0.8, 0.2, 0.0), (8, 2, 0)), (2, (0.0, 0.6, 0.4), (0, 1, 1)),
    (10, (0.0, 0.999_999_5, 0.0), (0, 10, 0)), (10, (0.01, 0.89, 0.1), (0, 9, 1)),
])
def test_every_share_has_a_case_and_the_rest_is_for_training(labelled: int, shares: tuple[float, ...],
                                                             expected: tuple[int, int, int]) -> None:
    if shares[0] and not expected[0]:
        assert "too few" in refusal(lambda: random_splits(sources(labelled), shares, 0))
    else:
        dealt = Counter(random_splits(sources(labelled), shares, 0).values())
        assert tuple(dealt[split] for split in ("train", "validation", "test")) == expected


@pytest.mark.parametrize("labelled", [0, 2])
def test_too_few_cases(labelled: int) -> None:
    said = refusal(lambda: random_splits(sources(labelled, 1), SHARES, 0))
    assert said.startswith(f"{labelled} labelled cases are too few for the fractions [0.7, 0.15, 0.15]; add")


def test_without_a_share_for_training_the_other_splits_need_a_case_each() -> None:
    assert "1 labelled cases are too few" in refusal(lambda: random_splits(sources(1), (0.0, 0.5, 0.5), 0))


@pytest.mark.parametrize("shares", [(0.7, 0.1, 0.1), (0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.5, 0.5), (1, 0, 0, 0)])
def test_shares_that_are_none(shares: tuple[float, ...]) -> None:
    assert "are not three shares of 1" in refusal(lambda: random_splits(sources(20), shares, 0))
