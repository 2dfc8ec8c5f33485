"""YAML from files that anybody may have written: the one reader of configurations, grids and tables.

It takes what JSON can say, in YAML's spelling. Refused, with the cause, is whatever makes objects (tags), makes much of
little (aliases of aliases), or is read differently by other readers: a key that stands twice, two documents. ``<<`` is
a key like any other.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from SAMoraLib.system.untrusted_json import HALF_OF_A_PAIR, MAX_INTEGER

MAX_BYTES = 256 << 10  # the largest configuration has 4 kB
MAX_DEPTH = 32
MAX_VALUES = 10_000  # with keys; the largest configuration has two hundred
FLOAT = re.compile(r"[-+]?(\d[\d_]*\.[\d_]*|\.[\d_]+|\d[\d_]*(?=[eE]))([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)"
                   r"|\.(nan|NaN|NAN)")


def read_yaml(path: str | Path) -> Any:
    """What a file of UTF-8 YAML says.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no regular file, or ``parse_yaml`` refuses it. The text is the cause alone, for the caller's
            sentence; nothing of the file's lines is in it.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} bytes")
    return parse_yaml(content.decode("utf-8-sig"))


def parse_yaml(text: str) -> Any:
    """What a text of YAML says: dicts with keys of text, lists, str, int, finite float, bool and None.

    Raises:
        ValueError: it is not YAML, too long, nested deeper than ``MAX_DEPTH``, or says something else.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is longer than {MAX_BYTES} characters")
    try:
        _check_events(text)
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:  # its own text shows lines of the file
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(f"it is not YAML: {error.problem}{line}") from None
    except yaml.YAMLError:
        raise ValueError("it holds characters that YAML does not allow") from None


@dataclass
class _Size:
    """Of a part of a text, its aliases written out."""

    values: int = 1
    levels: int = 0
    anchor: str = ""

    def add(self, inner: _Size) -> None:
        self.values += inner.values
        self.levels = max(self.levels, inner.levels + 1)
        if self.values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values, its aliases written out")


def _check_events(text: str) -> None:
    """Before anything is made of the text, as it is read: so that what is too much is read no further."""
    parts, anchors, documents = [_Size()], dict[str, _Size](), 0
    for event in yaml.parse(text, Loader=_Loader):
        line = f"in line {event.start_mark.line + 1}" if event.start_mark else ""
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise ValueError(f"it holds a second document {line}")
        if tag := getattr(event, "tag", None):
            raise ValueError(f"it has the tag '{tag:.80}' {line}; leave tags out")
        if isinstance(event, yaml.NodeEvent):
            parts.append(_begun(event, anchors, line))
        if isinstance(event, (yaml.ScalarEvent, yaml.AliasEvent, yaml.CollectionEndEvent)):
            whole = parts.pop()
            parts[-1].add(whole)
            anchors |= {whole.anchor: whole} if whole.anchor else {}
        if len(parts) + parts[-1].levels > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _begun(event: yaml.NodeEvent, anchors: Mapping[str, _Size], line: str) -> _Size:
    name = event.anchor or ""
    if not isinstance(event, yaml.AliasEvent):
        return _Size(anchor=name)
    if name not in anchors:
        raise ValueError(f"it has the alias '{name:.80}' {line} of what is not said before")
    return replace(anchors[name], anchor="")


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers of YAML 1.2, and without dates, merged tables and values of no meaning."""


def _table(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    pairs = [(loader.construct_object(key, deep=True), loader.construct_object(value, deep=True))
             for key, value in node.value]
    for key, _ in pairs:
        if not isinstance(key, str):
            raise ValueError(f"it has the key {key!r:.80}, which is no text; put quotes about it")
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"it has {twice!r:.80} twice")
    return table


def _list(loader: _Loader, node: yaml.SequenceNode) -> list[Any]:
    return [loader.construct_object(item, deep=True) for item in node.value]


def _text(loader: _Loader, node: yaml.ScalarNode) -> str:
    if HALF_OF_A_PAIR.search(node.value):
        raise ValueError(f"{node.value!r:.80} is not text")
    return str(node.value)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(node.value) > 70:  # digits: Python reads longer ones slowly
        raise ValueError(f"{node.value:.40} is too large a number")
    number = int(loader.construct_yaml_int(node))
    if abs(number) > MAX_INTEGER:
        raise ValueError(f"{node.value:.40} is too large a number")
    return number


def _float(loader: _Loader, node: yaml.ScalarNode) -> float:
    number = float(node.value.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise ValueError(f"{node.value:.40} is not a finite number")
    return number


def _without(tag: str, resolvers: list[tuple[str, re.Pattern[str]]]) -> list[tuple[str, re.Pattern[str]]]:
    return [resolver for resolver in resolvers if resolver[0] != f"tag:yaml.org,2002:{tag}"]


_Loader.yaml_implicit_resolvers = dict(yaml.SafeLoader.yaml_implicit_resolvers)
for _tag in ("float", "timestamp", "merge", "value"):
    for _first, _resolvers in _Loader.yaml_implicit_resolvers.items():
        _Loader.yaml_implicit_resolvers[_first] = _without(_tag, _resolvers)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^(?:{FLOAT.pattern})$"), list("-+0123456789."))
_CONSTRUCTORS: dict[str, Callable[..., Any]] = {"map": _table, "seq": _list, "str": _text, "int": _integer,
                                                "float": _float}
for _tag, _construct in _CONSTRUCTORS.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
