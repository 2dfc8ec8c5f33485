"""The models that can be chosen: those in Models.json and the checkpoints in the user's folder (plain Python, no Qt).

Besides the module's own list, a ``Models.json`` in the models folder is read, so that a hospital can offer what it
serves itself (`model_list`). Whoever may write to the models folder is not trusted: nothing there takes the place of
the module's own models, and what is wrong with a file is said of that file.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

import SAMoraLib
from SAMoraLib.card import Card, read_card
from SAMoraLib.labels import ORGANS
from SAMoraLib.system.streams import is_shown, one_line
from SAMoraSlicer.listed_card import listed_card
from SAMoraSlicer.model_list import ENDING, LONGEST_TEXT, Model, from_entry, read_list, to_download

CATALOGUE = Path(__file__).resolve().parents[1] / "Resources" / "Models.json"
PACKAGED = Path(SAMoraLib.__file__).resolve().parent
FOLDER_VARIABLE = "SAMORA_WEIGHTS"
FOLDER_SETTING = "SAMora/ModelsFolder"
MOST_FILES = 1000  # that are looked at in the models folder
BASE_ENDINGS = (ENDING, ".pth", ".pt")
PARTS = ("base", "expert", "teacher")  # kinds of checkpoints that are no models, and nobody's fault
LONGEST_PROBLEM = 600  # letters


def models_folder() -> Path:
    """Where checkpoints are kept: $SAMORA_WEIGHTS, else the folder chosen in the panel, else the user's data folder."""
    chosen = os.environ.get(FOLDER_VARIABLE) or _setting(FOLDER_SETTING)
    if not chosen:
        return _data_folder() / "SAMora" / "models"
    try:
        return Path(chosen).expanduser().absolute()
    except RuntimeError:  # "~NAME" of nobody
        return Path(chosen).absolute()


def _setting(name: str) -> str:
    try:
        import qt
    except ImportError:  # plain Python
        return ""
    value = qt.QSettings().value(name, "")
    return value if isinstance(value, str) else ""  # a damaged settings file gives lists


def _data_folder() -> Path:
    """The same place inside Slicer and outside, so without Qt."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def catalogue() -> list[Model]:
    """Every model, the module's own first; nothing raises, what is wrong with a file stands in its ``problem``."""
    own, folder = _packaged(), models_folder()
    taken = {name.casefold() for model in own for name in (model.id, model.title)} | {CATALOGUE.name.casefold()}
    return own + _with_files(_offered(folder / CATALOGUE.name, taken), folder, taken)


def is_taken(name: str) -> bool:
    """Whether a model of the module has that id or title, in whatever capitals."""
    return name.casefold() in {word.casefold() for model in _packaged() for word in (model.id, model.title)}


def find(name: str | Path) -> Model:
    """The model of that id or title, or at that path.

    Raises:
        FileNotFoundError: no such file, or the model is not on this computer.
        ValueError: no such model, several of that title, or it cannot be used.
    """
    if isinstance(name, Path) or name.endswith(ENDING):
        return _at(Path(name))
    models = catalogue()
    called = [model for model in models if name in (model.id, model.title)]
    fitting = [model for model in called if model.id == name] or called
    if not fitting:
        choices = ", ".join(model.id for model in models if not model.problem)
        raise ValueError(f"There is no model '{name}'; choose from {choices}, or give the path of a {ENDING} file.")
    if len(fitting) > 1:
        raise ValueError(f"{len(fitting)} models are called '{name}'; give an id: "
                         f"{', '.join(model.id for model in fitting)}.")
    model = fitting[0]
    if model.problem:
        raise ValueError(model.problem)
    if model.path is None:
        raise FileNotFoundError(f"The model '{model.id}' is not on this computer; download it in the panel's setup, or "
                                f"put its file into '{models_folder()}' as '{model.id}{ENDING}'.")
    return model


def titles(model: Model) -> dict[str, str]:
    """Organ name -> what people call it, in the order of the model's labels."""
    try:
        labels = listed_card(model.path).labels if model.path is not None else None
    except (OSError, ValueError):  # damaged, or gone since the catalogue was read
        labels = None
    if labels is not None:
        return {label.name: label.title for label in labels}
    return {name: ORGANS[name].title if name in ORGANS else name for name in model.organs}


def unfit(card: Card, path: Path) -> str:
    """Why a checkpoint cannot segment, as one sentence; "" if it can."""
    if card.kind != "model" or card.labels is None or card.preprocessing is None:
        return (f"'{path.name}' is a checkpoint of kind '{card.kind}', which cannot segment by itself; give a trained "
                "model.")
    if card.base is None:
        return ""
    name = base_name(card.base)
    if not name or name == path.name:
        return (f"'{path.name}' names base weights '{card.base['name']:.100}', which is no name of another file beside "
                "it; get the checkpoint anew, or make it self-contained with samora merge.")
    if not (path.parent / name).is_file():
        return (f"'{path.name}' needs its base weights '{name}', which are not beside it; put them there, or make the "
                "model self-contained with samora merge.")
    return ""


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, and whatever is called so; none in one that cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(ENDING) and not path.name.startswith("."))
    except (OSError, ValueError):  # a network folder that is gone; a setting that is no path
        return []


def base_names(path: Path) -> list[str]:
    """The base file that a checkpoint needs beside it, if any."""
    try:
        return _bases(listed_card(path))
    except (OSError, ValueError):
        return []


def base_name(base: Mapping[str, str]) -> str:
    """The name of a base file; "" where a card gives none that lies beside it: a card from elsewhere must not lead out
    of the folder, nor to what is no weights.
    """
    name = base["name"]
    is_plain = not re.search(r'[/\\:\0]', name) and not name.startswith(".") and len(name) <= LONGEST_TEXT
    return name if is_plain and name.lower().endswith(BASE_ENDINGS) else ""


def _bases(card: Card) -> list[str]:
    return [name for name in [base_name(card.base)] if name] if card.base is not None else []


def _with_files(offered: list[Model], folder: Path, taken: set[str]) -> list[Model]:
    """The models that are offered and those of the folder's files; a file of an offered one is that one."""
    paths = checkpoints(folder)
    models = {model.id.casefold(): model for model in offered}
    cards = {path: _card_or_problem(path) for path in paths[:MOST_FILES]}
    bases = {name for card in cards.values() if isinstance(card, Card) for name in _bases(card)}
    seen: set[str] = set()
    for path, card in cards.items():
        name = path.stem.casefold()
        if (card.kind in PARTS) if isinstance(card, Card) else (path.name in bases):
            continue
        if problem := _name_problem(path, taken | seen):
            models[path.name] = _unusable(path.name, problem, path)
            continue
        seen.add(name)
        models[name] = _found(models.get(name), path, card)
    return list(models.values()) + _too_many(folder, len(paths))


def _card_or_problem(path: Path) -> Card | str:
    try:
        return listed_card(path)
    except ValueError as error:
        return str(error)
    except OSError as error:
        return f"'{path.name}' cannot be read ({error.strerror}); delete it, or change its permissions."


def _name_problem(path: Path, taken: Collection[str]) -> str:
    if not is_shown(path.name):
        return f"The name of '{path.name}' has letters that cannot be shown; rename the file."
    if path.stem.casefold() in taken:
        return f"'{path.name}' has the name of another model, which it does not replace; rename the file."
    return f"'{path.name}' ends twice in '{ENDING}'; rename the file." if path.stem.endswith(ENDING) else ""


def _found(offered: Model | None, path: Path, card: Card | str) -> Model:
    """A checkpoint as the model that was offered, if it has its size; else as one of the user's own."""
    size = _size(path)
    model = offered if offered is not None and offered.size_bytes == size else Model(path.stem, path.stem)
    if isinstance(card, str):
        return replace(model, path=path, problem=_shown(card))
    return _described(model, path, card, size)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _unusable(name: str, problem: str, path: Path | None = None) -> Model:
    return Model(one_line(name), one_line(name), path=path, problem=_shown(problem))


def _shown(problem: str) -> str:
    text = one_line(problem)
    return text if len(text) <= LONGEST_PROBLEM else f"{text[:LONGEST_PROBLEM]}..."


def _too_many(folder: Path, count: int) -> list[Model]:
    if count <= MOST_FILES:
        return []
    return [_unusable("...", f"The models folder '{folder}' has {count} files that end in '{ENDING}', and {MOST_FILES} "
                      "are listed; move what is no model elsewhere.")]


def _at(path: Path) -> Model:
    card = read_card(path)
    if problem := unfit(card, path):
        raise ValueError(problem)
    return _described(Model(path.stem, one_line(card.name)), path, card, _size(path))


def _described(model: Model, path: Path, card: Card, size: int) -> Model:
    """``model`` with what its file says."""
    return replace(model, path=path, size_bytes=size, problem=_shown(unfit(card, path)),
                   modality=card.preprocessing.modality if card.preprocessing else "",
                   organs=card.labels.names if card.labels else (), licence=one_line(card.licence or model.licence),
                   description=one_line(model.description or card.description))


def _packaged() -> list[Model]:
    """The module's own, which lie in the package."""
    entries = read_list(CATALOGUE)
    paths = [PACKAGED / entry.pop("file") for entry in entries]
    models = [replace(from_entry(entry), size_bytes=_size(path)) for entry, path in zip(entries, paths, strict=True)]
    return [_found(model, path, _card_or_problem(path)) for model, path in zip(models, paths, strict=True)]


def _offered(file: Path, taken: Collection[str]) -> list[Model]:
    """The models of the user's or the hospital's list, or what is wrong with it."""
    try:
        return to_download(read_list(file), taken) if os.path.lexists(file) else []
    except OSError as error:
        cause = error.strerror
    except ValueError as error:
        cause = str(error)
    return [_unusable(file.name, f"The list of models '{file}' cannot be read ({cause}); correct or delete it.")]
