"""How weights are changed: what is refused, and what just may be asked for."""

from __future__ import annotations

from typing import Any

import pytest

from Testing.refusals import refusal
from Training.settings.optimisation import Optimisation


@pytest.mark.parametrize(("fields", "message"), [
    ({"batch_size": 0}, "batch_size is 0"), ({"nodes": 0}, "nodes is 0"), ({"accumulate": 0}, "accumulate is 0"),
    ({"strategy": "ddp2"}, "Unknown strategy 'ddp2'; choose from auto, fsdp"),
])
def test_impossible_optimisation_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Optimisation(**fields)


@pytest.mark.parametrize("name", ["steps", "batch_size", "nodes", "accumulate", "save_every"])
def test_one_is_the_least_of_what_is_counted(name: str) -> None:
    assert getattr(Optimisation(**{name: 1}), name) == 1
    for count in (0, -1):
        message = refusal(lambda count=count: Optimisation(**{name: count}))
        assert message == f"optimisation.{name} is {count}; it must be at least 1."


@pytest.mark.parametrize("name", ["threads", "workers", "validate_every"])
def test_none_is_allowed_where_zero_has_a_meaning(name: str) -> None:
    assert getattr(Optimisation(**{name: 0}), name) == 0


@pytest.mark.parametrize("optimiser", ["adamw", "muon", "lars"])
def test_every_optimiser_can_be_asked_for(optimiser: str) -> None:
    assert Optimisation(optimiser=optimiser).optimiser == optimiser


def test_an_unknown_optimiser_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown optimiser 'sgd'; choose from adamw, muon, lars"):
        Optimisation(optimiser="sgd")


def test_a_validation_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs the whole model on one device; set optimisation\.validate_every to 0"):
        Optimisation(strategy="fsdp", validate_every=5)


def test_each_of_sharding_and_validation_is_allowed_by_itself() -> None:
    assert Optimisation(strategy="fsdp").validate_every == 0
    assert Optimisation(strategy="auto", validate_every=5).strategy == "auto"


@pytest.mark.parametrize(("name", "number"), [("workers", 257), ("threads", 10**6), ("devices", 10**5),
                                              ("devices", "9999")])
def test_a_computer_is_not_brought_to_a_standstill(name: str, number: object) -> None:
    with pytest.raises(ValueError, match=f"optimisation.{name} is {number}; it must be at most 256"):
        Optimisation(**{name: number})
    assert Optimisation(workers=256, threads=256, devices="auto")
