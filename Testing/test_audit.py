"""Bounds, pins and reasons of the dependencies agree; an audit that was not done is no pass."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from Testing.audit import CONSTRAINTS, FAULTY, NOT_DONE, SOUND, judge, look_up, main
from Testing.folders import ROOT

LINE = re.compile(r'^ +"([A-Za-z0-9-]+)(?:\[\w+\])?>=([0-9.]+)', re.MULTILINE)
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def section(name: str) -> dict[str, str]:
    """Package -> lower bound in one list of pyproject.toml."""
    found = re.search(rf"^{name} = \[(.*?)^\]", PROJECT, re.MULTILINE | re.DOTALL)
    assert found
    return dict(LINE.findall(found[1]))


def numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


BOUNDS = section("dependencies") | section("training")
PINS = {name.lower(): version for name, version in re.findall(r"^([\w-]+)==([0-9.]+)", CONSTRAINTS.read_text(),
                                                              re.MULTILINE)}


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_what_is_tested_is_no_older_than_what_is_asked_for(name: str, bound: str) -> None:
    assert numbers(PINS[name.lower()]) >= numbers(bound)


@pytest.mark.parametrize(("name", "bound"), BOUNDS.items())
def test_every_bound_has_its_reason(name: str, bound: str) -> None:
    rows = [line for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines()
            if f"`{name}`" in line and line.startswith("|")]
    assert len(rows) == 1 and bound in rows[0].split("|")[2]


@pytest.mark.parametrize(("name", "least"), [("torch", "2.10"), ("SimpleITK", "2.5.3"), ("monai", "1.5.2"),
                                             ("pydicom", "3.0.2"), ("filelock", "3.20.3"), ("tqdm", "4.66.3")])
def test_no_bound_allows_a_known_fault(name: str, least: str) -> None:
    assert numbers(BOUNDS[name]) >= numbers(least)


def test_the_slicer_module_asks_for_the_same() -> None:
    lines = (ROOT / "SAMora/Resources/requirements.txt").read_text(encoding="utf-8").split()
    asked = dict(line.split(">=") for line in lines)
    assert asked and asked == {name: BOUNDS[name] for name in asked}


def package(name: str, **said: object) -> dict[str, object]:
    return {"name": name, "version": "1.0", "vulns": [], **said}


FAULT = {"id": "CVE-2026-1", "fix_versions": ["1.1"], "aliases": [], "description": ""}


@pytest.mark.parametrize(("packages", "code", "line"), [
    ([package("a"), package("b")], SOUND, "Of 2 packages no fault is known."),
    ([package("a", vulns=[FAULT]), package("b")], FAULTY, "a 1.0: CVE-2026-1, mended in 1.1"),
    ([package("a", vulns=[FAULT | {"fix_versions": []}])], FAULTY, "a 1.0: CVE-2026-1, mended in no release yet"),
    ([package("a"), {"name": "b", "skip_reason": "not found"}], NOT_DONE, "1 of 2 packages could not be looked up; try "
                                                                          "again with a network."),
    ([package("a", vulns=[FAULT]), {"name": "b", "skip_reason": "x"}], FAULTY, "a 1.0: CVE-2026-1, mended in 1.1")])
def test_what_an_audit_says(packages: list[dict[str, object]], code: int, line: str) -> None:
    found, lines = judge(json.dumps({"dependencies": packages}))
    assert found == code and lines[0] == line


@pytest.mark.parametrize("said", ["", "no JSON", "[]", "{}"])
def test_without_an_answer_nothing_is_known(said: str) -> None:
    code, lines = judge(said)
    assert code == NOT_DONE and len(lines) == 1 and lines[0].endswith("network.")


def test_without_the_program_it_was_not_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert look_up(tmp_path / "none") == ""
    assert main([str(tmp_path / "none")]) == NOT_DONE
    assert "nothing is known" in capsys.readouterr().out
