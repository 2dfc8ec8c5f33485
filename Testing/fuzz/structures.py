"""Changes of JSON, lines of JSON and YAML: other types, keys that are gone or twice, what is nested or never ends."""

from __future__ import annotations

import copy
import itertools
import json
import re
from dataclasses import dataclass
from random import Random
from typing import Any

import yaml

from Testing.fuzz.mutate import INFINITY, MARK, NAN, NUMBERS, TEXTS, changed, flip_bits

DEPTHS = (10, 40, 900, 5000, 100_000)
WIDTHS = (0, 1, 2, 50, 20_000)
STAND_IN = re.compile(r'"@raw(\d+)@"')
MOST_GROWN = 300_000  # characters; what grows three times would else take gigabytes


@dataclass(frozen=True)
class Raw:
    """Text that stands in the file as it is."""

    text: str


TAGS = (f"!!python/object/apply:os.mkdir [{MARK}]", f"!!python/object/new:os.mkdir [{MARK}]", "!!python/name:os.mkdir",
        "!!python/tuple [1, 2]", "!unknown x", "!!binary aGFsbG8=", "!!binary x", "!!set {a, b}", "!!timestamp x",
        "&a [*a]", "&a {b: *a}", "*unknown", "2020-01-01", "2020-99-99", "0x1F", "0o17", "1:30", "1e3", ".nan",
        ".inf", "-.inf", "~", "{<<: [1]}", "{[a]: b}", "{{a: b}: c}", "{1: 2, true: 3, null: 4}", "@", "%", "[", "}",
        '"', "- a", "'\\x'", "{a: 1, a: 2}", "!!int x", "!!float .", "!!omap [a: 1]", "9" * 5000)


def laughs(levels: int, width: int = 9) -> str:
    """Few words that stand for width ** levels."""
    names = [f"x{level}" for level in range(levels)]
    lists = [f"&{names[0]} [{', '.join(['y'] * width)}]"]
    lists += [f"&{name} [{', '.join([f'*{before}'] * width)}]" for before, name in itertools.pairwise(names)]
    return f"[{', '.join(lists)}]"


def change_tree(random: Random, tree: Any) -> Any:
    """One to three nodes become something else."""
    root = [copy.deepcopy(tree)]
    for _ in range(random.choice((1, 1, 2, 3))):
        container, key = random.choice(places(root))
        if key is None:
            continue
        random.choice(CHANGES)(random, container, key)
    return root[0] if root else None


def places(root: list[Any]) -> list[tuple[Any, Any]]:
    """Every node as its container and its key there."""
    found: list[tuple[Any, Any]] = []
    waiting: list[Any] = [root]
    while waiting:
        container = waiting.pop()
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            found.append((container, key))
            if isinstance(container[key], (dict, list)):
                waiting.append(container[key])
    return found or [(root, None)]


def hostile_value(random: Random) -> Any:
    kind = random.randrange(4)
    if kind == 0:
        return random.choice(NUMBERS)
    if kind == 1:
        return random.choice(TEXTS)
    return random.choice((None, True, False, [], {}, [[]], [None], [0], {"a": 1}, "\ud800", "a\udc80", NAN, INFINITY,
                          Raw("1e999"), Raw("-1E+400"), Raw("9" * 5000), Raw("01"), Raw("[1,]"), [1, "a", None],
                          ["a"] * 3, {"": ""}, [NAN, INFINITY, -INFINITY], "1", 1, 1.5))


def _replace(random: Random, container: Any, key: Any) -> None:
    container[key] = hostile_value(random)


def _vary(random: Random, container: Any, key: Any) -> None:
    """What is of the same type, and may well be."""
    value = container[key]
    if isinstance(value, bool):
        container[key] = not value
    elif isinstance(value, (int, float)):
        container[key] = random.choice((value + 1, value - 1, -value, 2 * value, 1000 * value, value // 2, 0.3 * value))
    elif isinstance(value, str):
        beside = [other for other in _values(container) if isinstance(other, str)]
        container[key] = random.choice((*beside, value[:-1], value + "2", value.upper(), f"{value} {value}"))
    elif isinstance(value, list):
        container[key] = random.choice((value[::-1], value[1:], value[:-1], value + value[:1], [*value, *value]))


def _values(container: Any) -> list[Any]:
    return list(container.values()) if isinstance(container, dict) else container


def _drop(random: Random, container: Any, key: Any) -> None:
    del container[key]


def _double(random: Random, container: Any, key: Any) -> None:
    """A key that stands twice, or an item."""
    if isinstance(container[key], dict) and container[key]:
        name = random.choice(list(container[key]))
        first, second = to_text({name: container[key][name]}), to_text({name: hostile_value(random)})
        rest = to_text({other: value for other, value in container[key].items() if other != name})
        container[key] = Raw(f"{first[:-1]}, {second[1:-1]}{', ' if rest != '{}' else ''}{rest[1:]}")
    elif isinstance(container, list):
        container.insert(0, container[key])


def _rename(random: Random, container: Any, key: Any) -> None:
    if isinstance(container, dict):
        container[random.choice((*TEXTS, f"{key}s", str(key).upper()))] = container.pop(key)


def _add(random: Random, container: Any, key: Any) -> None:
    if isinstance(container, dict):
        container[random.choice((*TEXTS, "extra", "__class__", "self", "file"))] = hostile_value(random)
    else:
        container.append(hostile_value(random))


def _exchange(random: Random, container: Any, key: Any) -> None:
    """The value of another place, e.g. of a sibling."""
    other, name = random.choice(places([container]))
    if name is not None:
        container[key] = copy.deepcopy(other[name])


def _nest(random: Random, container: Any, key: Any) -> None:
    depth = random.choice(DEPTHS)
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    container[key] = Raw(f"{opening * depth}1{closing * depth}")


def _grow(random: Random, container: Any, key: Any) -> None:
    """Very many of what is there, or none."""
    value = container[key]
    width = min(random.choice(WIDTHS), MOST_GROWN // (1 + len(to_text(value))))
    if isinstance(value, list):
        container[key] = (value or [1]) * width
    elif isinstance(value, dict):
        container[key] = {**value, **{f"key{number}": 1 for number in range(width)}}
    elif isinstance(value, str):
        container[key] = (value or "x") * width
    else:
        container[key] = [value] * width


CHANGES = (*(_replace, _vary) * 3, _drop, _double, _rename, _add, _exchange, _nest, _grow)


def to_text(tree: Any, ascii_only: bool = True) -> str:
    """JSON, with every `Raw` as it is."""
    raws: list[str] = []

    def stand_in(raw: Raw) -> str:
        raws.append(raw.text)
        return f"@raw{len(raws) - 1}@"

    text = json.dumps(tree, default=stand_in, ensure_ascii=ascii_only)
    return STAND_IN.sub(lambda found: raws[int(found[1])], text)


def change_json(random: Random, data: bytes) -> bytes:
    text = to_text(change_tree(random, json.loads(data)), random.random() < 0.8)
    encoding = random.choice(("utf-8",) * 20 + ("utf-16", "utf-8-sig", "utf-32-be"))
    return text.encode(encoding, "surrogatepass")


def change_line(random: Random, data: bytes) -> bytes:
    """One line of a file of JSON lines."""
    lines = data.split(b"\n")
    number = random.randrange(len(lines))
    if random.random() < 0.2:
        lines[number] = random.choice((lines[number] * 2, b"[]", b"null", b"1", b"{}"))
    else:
        lines[number], _ = changed(random, change_json, lines[number])
    return b"\n".join(lines)


def change_yaml(random: Random, data: bytes) -> bytes:
    """As JSON, which is YAML; and what YAML has beyond it."""
    if b"*" in data:  # aliases of an earlier change: what holds itself, or laughs, has no end
        return flip_bits(random, data)
    tree = yaml.safe_load(data)
    root = [copy.deepcopy(tree)]
    if random.random() < 0.5:
        container, key = random.choice(places(root))
        container[key] = Raw(random.choice((*TAGS, *map(laughs, (2, 4, 9)))))
    else:
        root = [change_tree(random, tree)]
    before = random.choice(("",) * 10 + ("---\n", "%YAML 9.9\n---\n", "--- 1\n---\n", "\ufeff", "# \x07\n", "\t"))
    return (before + to_text(root[0])).encode("utf-8", "surrogatepass")
