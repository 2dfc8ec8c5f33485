"""A run: a folder that holds its configuration, its log, and the state from which it goes on after a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
import yaml

from SAMoraLib.system.files import atomic_write, write_text
from SAMoraLib.weights.tensors import read_plain

STATE = "state.pt"
LOG = "log.jsonl"


class Run:
    """Files of one training run.

    Args:
        folder: made if it does not exist.
        config: the run's configuration; a folder that holds another one is refused.

    Raises:
        ValueError: the folder belongs to a run with another configuration.
    """

    def __init__(self, folder: Path, config: Any) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        written = _as_plain(config)
        path = self.folder / "config.yaml"
        # A folder written before a field existed had that field's default.
        old = _with_defaults(yaml.safe_load(path.read_text(encoding="utf-8")), config) if path.exists() else written
        if old != written:
            changed = sorted(key for key in {*old, *written} if old.get(key) != written.get(key))
            raise ValueError(f"'{self.folder}' holds a run whose {', '.join(changed)} differ; choose another output "
                             "folder, or delete this one.")
        write_text(path, yaml.safe_dump(written, sort_keys=False))

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep ``state`` (tensors and plain values); the file is written beside and renamed.

        Raises:
            OSError: it could not be written completely; the old one is still there.
        """
        with atomic_write(self.folder / STATE) as unfinished:
            try:
                torch.save(state, unfinished)
            except RuntimeError as error:  # torch: of a full disk it tells positions in the file
                raise OSError(f"'{self.folder / STATE}' could not be written; check that the disk has room.") from error

    def load_state(self) -> dict[str, Any] | None:
        """The last saved state, or None at the start.

        Raises:
            ValueError: it is damaged.
        """
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = read_plain(path)
        except ValueError as error:
            raise ValueError(f"'{path}' is damaged; delete it to start this run again.") from error
        return state

    def log(self, **values: Any) -> None:
        """Append one line to the log; one that a kill has cut short keeps a line of its own."""
        path = self.folder / LOG
        cut_short = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
        with path.open("a", encoding="utf-8") as file:
            file.write("\n" * cut_short + json.dumps(values) + "\n")


def _with_defaults(plain: dict[str, Any], config: Any) -> dict[str, Any]:
    """``plain`` as written, and the fields of ``config`` that it lacks at their default, also within its parts."""
    whole = _defaults(config) | plain
    parts = {name: part for name in plain if dataclasses.is_dataclass(part := getattr(config, name, None))}
    return whole | {name: _with_defaults(plain[name], part) for name, part in parts.items()
                    if isinstance(plain[name], dict)}


def _defaults(config: Any) -> dict[str, Any]:
    """The fields of ``config`` that have a default, at their default."""
    plain = {f.name: f.default for f in dataclasses.fields(config) if f.default is not dataclasses.MISSING}
    made = {f.name: f.default_factory() for f in dataclasses.fields(config)
            if f.default_factory is not dataclasses.MISSING}
    return {name: _as_plain(value) for name, value in (plain | made).items()}


def _as_plain(value: Any) -> Any:
    """Dataclasses, paths and tuples as what YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _as_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
