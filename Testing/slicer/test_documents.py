"""What the documents say of the module: messages that exist, pictures and links that lead somewhere."""

from __future__ import annotations

import argparse
import ast
import re
from pathlib import Path

import pytest

from SAMoraSlicer import segment_batch
from Testing.folders import ROOT

GAP = "\0"  # a value that is put into a message
DOCUMENTS = ["README.md", "docs/slicer.md", "docs/tutorial.md"]


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def texts_of(source: Path) -> list[str]:
    """Every string of a file, f-strings and templates with a gap for what is put in."""
    texts = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            texts.append("".join(part.value if isinstance(part, ast.Constant) else GAP for part in node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.append(re.sub(r"\{\w*\}", GAP, node.value))
    return texts


@pytest.fixture(scope="module")
def said() -> str:
    """All that the module and the library can say."""
    sources = [path for folder in ("SAMora", "SAMoraLib") for path in (ROOT / folder).rglob("*.py")]
    return "\n".join(text for source in sources for text in texts_of(source))


def messages() -> list[str]:
    section = read("docs/slicer.md").split("## Troubleshooting")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [message for row in rows for message in re.findall("`([^`]+)`", row)]


@pytest.mark.parametrize("message", messages())
def test_every_message_of_the_troubleshooting_is_said(said: str, message: str) -> None:
    for fragment in re.split(r"\.\.\.|\bN\b|(?<!A)\bA\b", message):
        words = fragment.strip(" /'")
        # One sentence may be put into another: "The program ... {was ended by the system}".
        seams = [0, *(space.start() for space in re.finditer(" ", words) if 10 < space.start() < len(words) - 10)]
        assert any(words[:seam] in said and words[seam:].strip() in said for seam in seams), words


def test_the_troubleshooting_is_not_empty() -> None:
    assert len(messages()) > 40


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_pictures_lead_somewhere(document: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", read(document)):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), f"{document}: '{target}' leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in headings], target


def test_every_option_of_a_batch_is_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    batch_section = read("docs/slicer.md").split("## Batch")[1].split("## Troubleshooting")[0]
    parsers = []
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda parser, _: parsers.append(parser))
    segment_batch._options([])
    options = {option for action in parsers[0]._actions for option in action.option_strings} - {"-h", "--help"}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", batch_section, re.MULTILINE))


@pytest.mark.parametrize("code", ["DONE", "FAILED", "WRONG_USE", "INTERRUPTED"])
def test_every_exit_code_is_documented(code: str) -> None:
    assert f"| {getattr(segment_batch, code)} | " in read("docs/slicer.md")
