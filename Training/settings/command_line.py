"""A stage's configuration from YAML and the command line, by jsonargparse.

A file is no more than fields written down: it is read as data, each field becomes the argument of that name, and what
it names is neither opened nor imported.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_type_hints

import jsonargparse

from SAMoraLib.system.streams import shortened
from Training.settings.program import program
from Training.settings.untrusted_yaml import parse_yaml, read_yaml

Config = TypeVar("Config")
MODE = "untrusted"  # how jsonargparse reads the text of a value
LARGEST = 2**53  # a larger integer is none to many programs

jsonargparse.set_loader(MODE, parse_yaml, exceptions=(ValueError,))


class _Parser(jsonargparse.ArgumentParser):
    """Quotes no value at length."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        super().error(shortened(message), ex)


def from_command_line(config: type[Config], arguments: Sequence[str] | None = None) -> Config:
    """A configuration from ``--config FILE.yaml`` and single fields, e.g. ``--optimisation.steps 10``; the last wins.

    A mistake ends the program with exit code 2 and the field's name.
    """
    jsonargparse.set_parsing_settings(import_path_denylist=["*"])
    parser = _Parser(description=(config.__doc__ or "").split("\n\n")[0], parser_mode=MODE)
    parser.add_argument("--config", metavar="FILE", help="a YAML file with any of the fields below")
    parser.add_class_arguments(config, as_group=False)
    try:
        given = list(_written_out(sys.argv[1:] if arguments is None else arguments, config))
        values = parser.instantiate(parser.parse_args(given)).as_dict()
        if values.pop("config", None) is not None:  # the parser takes --conf for it, which nobody has read
            raise ValueError("--config is to be written in full; write --config FILE.")
        _require_finite(values)
        return config(**values)
    except (ValueError, OSError, OverflowError) as error:  # the last of a number of 400 digits
        parser.error(str(error))


def _written_out(arguments: Sequence[str], config: type) -> Iterator[str]:
    """The arguments, with a file, or a part as a whole, as the single fields that it says."""
    parts = dict(_parts(config))
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        name = option.removeprefix("--")
        if not option.startswith("--") or (name != "config" and name not in parts):
            yield argument
            continue
        text = value if equals else next(rest, None)
        if text is None or text.startswith("--"):  # the parser says what is missing
            yield from [option] if text is None else [option, text]
        elif name == "config":
            yield from _of_file(text, config)
        else:
            yield from _of_part(text, name, parts[name])


def _parts(config: type, name: str = "") -> Iterator[tuple[str, type]]:
    for field, kind in get_type_hints(config).items():
        if is_dataclass(kind) and isinstance(kind, type):
            yield name + field, kind
            yield from _parts(kind, f"{name}{field}.")


def _of_file(path: str, config: type) -> Iterator[str]:
    if not Path(path).exists():
        raise FileNotFoundError(f"There is no configuration '{path}'; Training/configs holds some.")
    try:
        yield from _as_arguments(read_yaml(path), config)
    except ValueError as error:
        raise ValueError(f"The configuration '{path}' cannot be used, because {error}; correct it.") from error


def _of_part(text: str, name: str, kind: type) -> Iterator[str]:
    try:
        yield from _as_arguments(parse_yaml(text), kind, f"{name}.")
    except ValueError as error:
        raise ValueError(f"--{name} cannot be used, because {error}; write single fields, as --{name}."
                         f"{fields(kind)[0].name}.") from error


def _as_arguments(said: Any, kind: type, name: str = "") -> Iterator[str]:
    """The arguments that say the same as a table of the fields of ``kind``.

    Raises:
        ValueError: it is no table, or has a field of another name or without a value. The text is the cause alone.
    """
    if not isinstance(said, dict):
        raise ValueError(f"{name.removesuffix('.') or 'it'} is {_shown(said)} instead of a table of fields")
    kinds = get_type_hints(kind)
    for field, value in said.items():
        if field not in kinds:
            raise ValueError(f"it has the unknown field {name + field!r:.80} (the known ones are {', '.join(kinds)})")
        if value is None:
            raise ValueError(f"its field '{name}{field}' has no value")
        if is_dataclass(kinds[field]):
            yield from _as_arguments(value, kinds[field], f"{name}{field}.")
        else:
            yield f"--{name}{field}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"


def _shown(said: Any) -> str:
    return "empty" if said is None else "a list" if isinstance(said, list) else f"{said!r:.60}"


def _require_finite(value: Any, name: str = "") -> None:
    """Refuse infinities, which a number written too large becomes, and integers beyond ``LARGEST``."""
    inner = (value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else
             ((field.name, getattr(value, field.name)) for field in fields(value)) if is_dataclass(value) else ())
    for key, item in inner:
        _require_finite(item, f"{name}.{key}" if name else str(key))
    if isinstance(value, (int, float)) and not (math.isfinite(value) and abs(value) <= LARGEST):
        raise ValueError(f"{name} is {value:.3g}, which is too large or no number; give another one.")


def command(train: Callable[[Config], object], config: type[Config], arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says; ``Training.settings.program`` has how it ends otherwise."""
    with program():  # days of training do not end because nobody reads on
        train(from_command_line(config, arguments))
