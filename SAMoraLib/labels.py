"""Organs and label sets: numbers, names, colours and terminology codes (torch-free).

Colours are those of 3D Slicer's General Anatomy list; codes are SNOMED CT (coding scheme ``SCT``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Organ:
    """What an organ is called and looks like, independent of any data set's numbering.

    ``code`` and ``meaning`` are SNOMED CT; ``modifier`` is the laterality as (code, meaning), or None.
    """

    name: str
    title: str
    rgb: tuple[int, int, int]
    code: str
    meaning: str
    modifier: tuple[str, str] | None = None


RIGHT = ("24028007", "Right")
LEFT = ("7771000", "Left")

ORGANS = {
    organ.name: organ
    for organ in (
        Organ("spleen", "Spleen", (157, 108, 162), "78961009", "Spleen"),
        Organ("right_kidney", "Right kidney", (185, 102, 83), "64033007", "Kidney", RIGHT),
        Organ("left_kidney", "Left kidney", (185, 102, 83), "64033007", "Kidney", LEFT),
        Organ("gallbladder", "Gallbladder", (139, 150, 98), "28231008", "Gallbladder"),
        Organ("liver", "Liver", (221, 130, 101), "10200004", "Liver"),
        Organ("stomach", "Stomach", (216, 132, 105), "69695003", "Stomach"),
        Organ("aorta", "Aorta", (224, 97, 76), "15825003", "Aorta"),
        Organ("pancreas", "Pancreas", (249, 180, 111), "15776009", "Pancreas"),
    )
}


@dataclass(frozen=True)
class Label:
    """One organ with the number that it has in a label volume (1 and up; 0 is background)."""

    value: int
    organ: Organ

    @property
    def name(self) -> str:
        return self.organ.name

    @property
    def title(self) -> str:
        return self.organ.title

    @property
    def rgb(self) -> tuple[int, int, int]:
        return self.organ.rgb


@dataclass(frozen=True)
class LabelSet:
    """The organs that a model segments, numbered 1..n in order."""

    name: str
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self.labels)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(label.name for label in self.labels)

    def by_name(self, name: str) -> Label:
        """The label of organ ``name``.

        Raises:
            ValueError: the set has no such organ.
        """
        for label in self.labels:
            if label.name == name:
                return label
        raise ValueError(f"'{name}' is not an organ of this model; choose from {', '.join(self.names)}.")

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "organs": [asdict(label.organ) for label in self.labels]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> LabelSet:
        return make_label_set(data["name"], [_organ_from_json(organ) for organ in data["organs"]])


def _organ_from_json(data: dict[str, Any]) -> Organ:
    modifier = data.get("modifier")
    fields = data | {"rgb": tuple(data["rgb"]), "modifier": tuple(modifier) if modifier else None}
    return Organ(**fields)


def make_label_set(name: str, organs: list[Organ]) -> LabelSet:
    """Number ``organs`` 1..n in the given order."""
    return LabelSet(name, tuple(Label(i, organ) for i, organ in enumerate(organs, start=1)))


def _named(name: str, *organs: str) -> LabelSet:
    return make_label_set(name, [ORGANS[organ] for organ in organs])


LABEL_SETS = {
    labels.name: labels
    for labels in (
        # The eight organs of the Synapse/BTCV protocol in TransUNet's order, used by SAMed, H-SAM and SAMora.
        _named("synapse", "spleen", "right_kidney", "left_kidney", "gallbladder", "liver", "stomach", "aorta",
               "pancreas"),
        _named("chaos_mr", "liver", "right_kidney", "left_kidney", "spleen"),
    )
}


def get_label_set(name: str) -> LabelSet:
    """The label set called ``name``.

    Raises:
        ValueError: no such label set.
    """
    if name not in LABEL_SETS:
        raise ValueError(f"Unknown label set '{name}'; choose from {', '.join(LABEL_SETS)}.")
    return LABEL_SETS[name]
