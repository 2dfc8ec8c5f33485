"""A stage's configuration from YAML and the command line, by jsonargparse."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import jsonargparse

from SAMoraLib.system.streams import unfailing_streams

Config = TypeVar("Config")


def from_command_line(config: Callable[..., Config], arguments: Sequence[str] | None = None) -> Config:
    """A configuration from ``--config FILE.yaml`` and single fields, e.g. ``--optimisation.steps 10``.

    A mistake ends the program with exit code 2 and the field's name.
    """
    parser = jsonargparse.ArgumentParser(description=(config.__doc__ or "").split("\n\n")[0])
    parser.add_argument("--config", action="config", help="a YAML file with any of the fields below")
    parser.add_class_arguments(config, as_group=False)
    parsed = parser.parse_args(arguments)
    try:
        values = parser.instantiate(parsed).as_dict()
        values.pop("config", None)
        return config(**values)
    except ValueError as error:
        parser.error(str(error))


def command(train: Callable[[Config], object], config: Callable[..., Config],
            arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says; what is refused ends the program with exit code 1 and its one sentence."""
    with unfailing_streams():  # days of training do not end because nobody reads on
        _train(train, from_command_line(config, arguments))


def _train(train: Callable[[Config], object], settings: Config) -> None:
    try:
        train(settings)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from error
