"""A run: a folder that holds its configuration, its log, and the state from which it goes on after a kill."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml

from SAMoraLib.system.files import atomic_write, unwritten, write_text
from SAMoraLib.system.folder_lock import FolderLock
from SAMoraLib.system.streams import one_line
from SAMoraLib.weights.tensors import read_plain
from Training.data.typed import typed
from Training.data.unfinished import naming, sweep
from Training.engine.seal import is_unchanged, seal
from Training.settings.untrusted_yaml import parse_yaml, read_yaml

STATE = "state.pt"
LOG = "log.jsonl"
WHOLE_LINE = re.compile(r"\{.*\"step\": (\d{1,15})\b.*\}")  # of the log
CONFIG = "config.yaml"


class Run:
    """Files of one training run.

    Args:
        folder: made if it does not exist.
        config: the run's configuration; a folder that holds another one is refused.

    Raises:
        ValueError: the folder belongs to a run with another configuration, or one that nobody can read.
        OSError: the folder or the configuration cannot be written.
    """

    def __init__(self, folder: Path, config: Any) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path, text = self.folder / CONFIG, yaml.safe_dump(_as_plain(config), sort_keys=False)
        said, written = _read_config(path), parse_yaml(text)
        # A folder written before a field existed had that field's default.
        old = written if said is None else _with_defaults(said, config)
        if old != written:
            changed = sorted(key for key in {*old, *written} if old.get(key) != written.get(key))
            raise ValueError(f"'{self.folder}' holds a run whose {one_line(', '.join(changed))[:200]} differ; choose "
                             "another output folder, or delete this one.")
        if said != written:
            with naming(path):
                write_text(path, text)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, no other run writes here; what a killed one left unfinished is removed.

        Raises:
            OSError: another run is at work in the folder, or it cannot be written to.
        """
        lock = FolderLock(self.folder)
        lock.take()
        try:
            sweep(self.folder, seconds=0)
            yield
        finally:
            lock.release()

    def save_state(self, state: dict[str, Any]) -> None:
        """Keep ``state`` (tensors and plain values); the file is written beside and renamed.

        Raises:
            OSError: it could not be written completely; the old one is still there.
        """
        path = self.folder / STATE
        with atomic_write(path) as unfinished:
            try:
                torch.save(state, unfinished)
                seal(unfinished)
            except RuntimeError as error:  # torch: of a full disk it tells positions in the file
                raise OSError(unwritten(path)) from error

    def load_state(self) -> dict[str, Any] | None:
        """The last saved state, or None at the start; its checksums are compared.

        Raises:
            ValueError: it is damaged, or no state.
        """
        path = self.folder / STATE
        if not path.exists():
            return None
        try:
            if not path.is_file() or not is_unchanged(path):  # a pipe would be waited for
                raise ValueError("it is not what was written")
            state: dict[str, Any] = typed(read_plain(path), dict, "it")
        except (ValueError, OSError) as error:
            raise ValueError(f"'{path}' is damaged; delete it to start this run again.") from error
        return state

    def log(self, **values: Any) -> None:
        """Append one line to the log; one that a kill has cut short keeps a line of its own.

        Raises:
            OSError: it could not be written.
        """
        path = self.folder / LOG
        with naming(path), path.open("a+b") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            cut_short = file.read() not in (b"", b"\n")
            file.write(("\n" * cut_short + json.dumps(_as_json(values)) + "\n").encode())

    def forget_after(self, step: int) -> None:
        """Leave out of the log what was done after the saved state: it is done, and said, again.

        Raises:
            OSError: it could not be written.
        """
        path = self.folder / LOG
        if path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
            if kept != lines:
                with naming(path):
                    write_text(path, "".join(f"{line}\n" for line in kept))


def _read_config(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return typed(read_yaml(path), dict, "it")
    except (ValueError, OSError) as error:
        raise ValueError(f"'{path}' cannot be read as a run's configuration ({error}); delete it where you know that "
                         "the folder is this run's, or choose another output folder.") from error


def _step_of(line: str) -> float:
    """The step that a line of the log speaks of; infinite for one that was cut short."""
    found = WHOLE_LINE.fullmatch(line)
    return int(found[1]) if found else math.inf


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN, which a measure of nothing is."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()}


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
