"""What a newcomer may rely on: short functions, no circles, and every file in the room that its job has."""

from __future__ import annotations

import re

from Testing import house
from Testing.folders import ROOT

LONGEST, LONG, LONG_ONES = 60, 45, 3  # lines of any function; of a function of the product; how many may be longer


def test_no_function_is_long() -> None:
    everywhere = house.functions(*house.PRODUCT, "Testing")
    assert not [str(place) for place in everywhere if place.count > LONGEST]
    long_ones = [str(place) for place in house.functions(*house.PRODUCT) if place.count > LONG]
    assert len(long_ones) <= LONG_ONES, long_ones


def test_a_statement_holds_one_comprehension() -> None:
    crowded = [str(place) for place in house.crowded_statements(*house.PRODUCT)]
    assert len(crowded) <= 3, crowded


def test_no_modules_import_each_other() -> None:
    assert not house.circles(house.imports(*house.PRODUCT))


def test_a_circle_would_be_seen() -> None:
    assert house.circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [("b", "c")]


def test_nothing_in_a_folder_of_training_imports_what_is_run() -> None:
    upward = [f"{name} -> {target}" for name, targets in house.imports("Training").items() if name.count(".") > 1
              for target in targets if target.count(".") == 1 and (ROOT / f"{target.replace('.', '/')}.py").is_file()]
    assert not upward


def test_the_top_of_training_is_what_is_run() -> None:
    scripts = [path for path in (ROOT / "Training").glob("*.py") if path.name != "__init__.py"]
    assert scripts and not [path.name for path in scripts if "__main__" not in path.read_text(encoding="utf-8")]


def test_the_top_of_the_library_is_the_products_nouns() -> None:
    assert len(list((ROOT / "SAMoraLib").glob("*.py"))) <= 13


def test_imports_stand_at_the_top() -> None:
    assert not house.lines_with(r"noqa: E402", *house.PRODUCT, "Testing/library", "Testing/training", "Testing/slicer")


def test_blocks_and_encoders_have_types() -> None:
    word = r"\b(\w*[bB]locks?|\w*[eE]ncoders?|patch_embed)\b"
    assert not house.lines_with(rf"{word}\s*: (list\[|Sequence\[)?Any\b", *house.PRODUCT)
    assert not house.lines_with(rf"def {word}\(.*-> Any\b", *house.PRODUCT)


def test_a_folders_init_says_in_one_line_what_it_holds() -> None:
    """SAMoraLib's own tells more, and ``volume`` offers its types by its name."""
    inits = [path for path in house.sources(*house.PRODUCT) if path.name == "__init__.py"
             and path.parent.name not in ("SAMoraLib", "volume")]
    assert not [str(path) for path in inits if not re.fullmatch('"""[^\n]+"""\n', path.read_text(encoding="utf-8"))]


def test_tensors_are_compared_on_their_own_scale() -> None:
    """By ``Testing.closeness``; geometry (float64, no sums) may be compared number by number."""
    assert not house.lines_with(r"torch\.testing\.assert_close|assert torch\.allclose", "Testing")
