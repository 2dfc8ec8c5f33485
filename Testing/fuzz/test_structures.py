"""Changes of trees: what is odd in JSON and YAML does come up, and the rest stays as it was."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
import yaml

from Testing.fuzz import structures

TREE = {"name": "a", "parts": [{"id": 1, "size": 2.5}, {"id": 2, "size": None}], "more": {"x": True}}
TEXT = json.dumps(TREE).encode()


def many(change: Any, data: bytes = TEXT, count: int = 400) -> list[bytes]:
    random = Random(0)
    return [change(random, data) for _ in range(count)]


def test_every_node_may_become_another() -> None:
    places = structures.places([TREE])
    assert len(places) == 11 and {key for _, key in places} >= {0, "parts", "id", "size", "x"}


def test_json_is_doubled_nested_and_endless() -> None:
    made = many(structures.change_json)
    assert len(set(made)) > 320
    assert any(data.count(b'"id"') == 3 for data in made), "no key stands twice"
    assert any(b"[" * 900 in data for data in made) and any(b"NaN" in data or b"Infinity" in data for data in made)
    assert any(rb"\ud800" in data for data in made) and any(b"1e999" in data for data in made)
    assert any(len(data) > 10_000 for data in made) and max(map(len, made)) < 5_000_000


def test_the_tree_itself_stays() -> None:
    random = Random(0)
    before = json.dumps(TREE)
    for _ in range(50):
        structures.change_tree(random, TREE)
    assert json.dumps(TREE) == before


def test_raw_text_stands_as_it_is() -> None:
    assert structures.to_text({"a": structures.Raw("[1,]"), "b": [structures.Raw("x")]}) == '{"a": [1,], "b": [x]}'


@pytest.mark.parametrize("value", [True, 3, 2.5, "word", ["a", "b"]])
def test_a_value_varies_within_its_type(value: Any) -> None:
    random, made = Random(0), []
    for _ in range(20):
        container = {"x": value, "y": "beside"}
        structures._vary(random, container, "x")
        made.append(container["x"])
    kinds = (int, float) if type(value) in (int, float) else type(value)
    assert all(isinstance(one, kinds) for one in made) and any(one != value for one in made)


def test_one_line_is_changed() -> None:
    lines = b"\n".join([TEXT] * 5)
    for data in many(structures.change_line, lines, 30):
        assert data.split(b"\n").count(TEXT) >= 4


def test_yaml_has_tags_aliases_and_laughs() -> None:
    made = many(structures.change_yaml)
    for words in (b"!!python/object", b"&a [*a]", b"*x4", b".inf", b"%YAML 9.9"):
        assert any(words in data for data in made), words
    assert structures.change_yaml(Random(3), yaml.safe_dump(TREE).encode())


def test_laughs_are_few_words_for_many() -> None:
    text = structures.laughs(3, 4)
    assert len(text) < 100
    assert len(str(yaml.safe_load(text))) > 4**3
