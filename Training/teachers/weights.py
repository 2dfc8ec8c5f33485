"""Teachers by name, and their files: ours, the published ones, and timm's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from SAMoraLib.card import METADATA_KEY, Card, read_card, read_header
from SAMoraLib.checkpoint import save_tensors
from SAMoraLib.weights.finite import require_finite
from SAMoraLib.weights.tensors import read_plain, read_safetensors
from SAMoraLib.weights.wrapping import UnclearContent, bare_names, unwrapped
from Training.teachers import mae, simclr

Teacher = simclr.Simclr | mae.Mae

# Row -> the network with new weights, for slices of a size.
TEACHERS: dict[str, Callable[[int], Teacher]] = {
    "simclr_r50_2x_sk": lambda size: simclr.Simclr(simclr.R50_2X_SK),
    "simclr_tiny": lambda size: simclr.Simclr(simclr.TINY),
    "mae_vit_large": lambda size: mae.Mae(mae.VIT_LARGE, size),
    "mae_tiny": lambda size: mae.Mae(mae.TINY, size),
}
# The networks whose ImageNet weights are published, and where their files are looked for: see docs/stage1.md.
IMAGENET = {"simclr_r50_2x_sk": "weights/r50_2x_sk1.pth",
            "mae_vit_large": "weights/mae_pretrain_vit_large.pth"}
TIMM = "timm:"
SHOWN = 4  # of the keys that differ; a file of another network differs in hundreds


def build_teacher(row: str, image_size: int) -> Teacher:
    """The network ``row`` with new weights.

    Raises:
        ValueError: no such row, or a size that its patches do not divide.
    """
    if row not in TEACHERS:
        raise ValueError(f"Unknown teacher '{row}'; choose from {', '.join(TEACHERS)}.")
    return TEACHERS[row](image_size)


def load_teacher(row: str, source: str, image_size: int) -> Teacher:
    """The network ``row`` with the weights of ``source``.

    Args:
        source: a file of ``save_teacher``, a published file (MAE's or timm's keys; for SimCLR those of the converter
            Separius/SimCLRv2-Pytorch), or ``timm:NAME``, which timm downloads.
        image_size: side of the slices, pixels; MAE's position tables are resized to it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file cannot be read or holds another network; the message names what differs.
    """
    model = build_teacher(row, image_size)
    state = _read(source, model)
    if isinstance(model, mae.Mae):
        state = mae.fitted(state, model)
    if differences := _differences(state, model.state_dict()):
        raise ValueError(f"'{source}' does not hold the teacher {row}: {differences}; give the file of this network, "
                         "or another teacher.")
    model.load_state_dict(state)
    return model


def save_teacher(path: str | Path, model: Teacher, card: Card) -> None:
    """Write all tensors of a teacher, its head or decoder among them, with a card of kind "teacher"."""
    save_tensors(path, model.state_dict(), card)


def row_of(source: str) -> str | None:
    """The row that a file of ours names on its card; None for published files."""
    if Path(source).suffix != ".safetensors" or METADATA_KEY not in read_header(source).get("__metadata__", {}):
        return None
    card = read_card(source)
    if card.kind != "teacher":
        raise ValueError(f"'{source}' is a checkpoint of kind '{card.kind}', not a teacher; give one of "
                         "Training.stage1_teacher, or a published file.")
    return card.name


def _read(source: str, model: Teacher) -> dict[str, Tensor]:
    """Tensors under our names, from wherever ``source`` says."""
    if source.startswith(TIMM):
        published = _from_timm(source.removeprefix(TIMM))
        require_finite(source, published)
        return _renamed(published, model)
    if not Path(source).is_file():
        raise FileNotFoundError(f"There is no teacher '{source}'; give a file of Training.stage1_teacher, or a "
                                "published one as docs/stage1.md says.")
    if row_of(source) is not None:
        return read_safetensors(source)
    published = read_safetensors(source) if source.endswith(".safetensors") else _plain(source, model)
    require_finite(source, published)
    return _renamed(published, model)


def _plain(source: str, model: Teacher) -> dict[str, Tensor]:
    """The tensors of a published ``.pth``: MAE's in one table, wrapped or not; SimCLR's in two."""
    content = read_plain(source)
    try:
        return unwrapped(content) if isinstance(model, mae.Mae) else bare_names(dict(_leaves(content)))
    except UnclearContent as error:
        raise ValueError(f"'{source}' {error}.") from error


def _renamed(published: Mapping[str, Tensor], model: Teacher) -> dict[str, Tensor]:
    return mae.from_published(published) if isinstance(model, mae.Mae) else simclr.from_published(published)


def _leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of nested tables, their keys joined by dots."""
    if isinstance(content, Tensor):
        yield prefix.removesuffix("."), content.detach()
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, f"{prefix}{key}.")


def _from_timm(name: str) -> dict[str, Tensor]:
    import timm

    if not timm.list_pretrained(name):
        known = ", ".join(timm.list_pretrained("*.mae"))
        raise ValueError(f"timm has no pretrained model '{name}'; MAE's are {known}.")
    state: dict[str, Tensor] = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    return state


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What stands in the way of loading ``found``, in words; empty if nothing does."""
    missing = [key for key in wanted if key not in found]
    unknown = [key for key in found if key not in wanted]
    shapes = [f"{key} {tuple(found[key].shape)} instead of {tuple(wanted[key].shape)}" for key in wanted
              if key in found and found[key].shape != wanted[key].shape]
    kinds = (("it lacks", missing), ("it has unknown", unknown), ("it has", shapes))
    return ", ".join(f"{what} {_some(keys)}" for what, keys in kinds if keys)


def _some(keys: list[str]) -> str:
    rest = len(keys) - SHOWN
    return ", ".join(keys[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
