"""Organs and label sets: numbers, names, colours and terminology codes (torch-free).

Colours are those of 3D Slicer's General Anatomy list; codes are SNOMED CT (coding scheme ``SCT``).
A label set's organs are what a model segments; ``Training.datasets`` says which numbers they have in whose files.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from SAMoraLib.fields import NAME, Rule, check_fields, known_fields, line, optional, shown, table_of, tuple_of, whole

MAX_LABELS = 255  # label volumes have eight bits
_ORGANS = Rule(f"a list of 1 to {MAX_LABELS} organs",
               lambda value: isinstance(value, tuple) and 0 < len(value) <= MAX_LABELS)
_CODED = tuple_of(line(), 2, 2)


@dataclass(frozen=True)
class Organ:
    """What an organ is called and looks like, independent of any data set's numbering.

    ``code`` and ``meaning`` are SNOMED CT; ``modifier`` is the laterality as (code, meaning), or None; ``category``
    says what kind of thing it is, as (code, meaning).
    """

    name: str
    title: str
    rgb: tuple[int, int, int]
    code: str
    meaning: str
    modifier: tuple[str, str] | None = None
    category: tuple[str, str] = ("123037004", "Anatomical Structure")

    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": NAME, "title": NAME, "rgb": tuple_of(whole(0, 255), 3, 3), "code": line(), "meaning": line(),
        "modifier": optional(_CODED), "category": _CODED}

    def __post_init__(self) -> None:
        check_fields("organ", vars(self), self.RULES)


RIGHT = ("24028007", "Right")
LEFT = ("7771000", "Left")
ALTERED = ("49755003", "Morphologically Altered Structure")

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
        Organ("esophagus", "Esophagus", (211, 171, 143), "32849002", "Esophagus"),
        Organ("inferior_vena_cava", "Inferior vena cava", (0, 151, 206), "64131007", "Inferior vena cava"),
        Organ("portal_and_splenic_vein", "Portal and splenic vein", (0, 151, 206), "110765007",
              "Portal vein and splenic vein"),
        Organ("right_adrenal_gland", "Right adrenal gland", (249, 186, 150), "23451007", "Adrenal gland", RIGHT),
        Organ("left_adrenal_gland", "Left adrenal gland", (249, 186, 150), "23451007", "Adrenal gland", LEFT),
        Organ("adrenal_glands", "Adrenal glands", (249, 186, 150), "23451007", "Adrenal gland"),
        Organ("duodenum", "Duodenum", (255, 253, 229), "38848004", "Duodenum"),
        Organ("bladder", "Urinary bladder", (222, 154, 132), "89837001", "Bladder"),
        # AMOS gives both one number; SNOMED CT has no word for "either", so the code says where it lies.
        Organ("prostate_or_uterus", "Prostate or uterus", (230, 158, 140), "12921003", "Pelvis"),
        Organ("prostate", "Prostate", (230, 158, 140), "41216001", "Prostate"),
        Organ("left_atrium", "Left atrium", (206, 110, 84), "82471001", "Left atrium"),
        Organ("kidney", "Kidney", (185, 102, 83), "64033007", "Kidney"),
        Organ("liver_tumour", "Liver tumour", (144, 238, 144), "108369006", "Neoplasm", category=ALTERED),
        Organ("kidney_tumour", "Kidney tumour", (144, 238, 144), "108369006", "Neoplasm", category=ALTERED),
        Organ("pancreas_tumour", "Pancreas tumour", (144, 238, 144), "108369006", "Neoplasm", category=ALTERED),
        Organ("lung_tumour", "Lung tumour", (144, 238, 144), "108369006", "Neoplasm", category=ALTERED),
        Organ("colon_tumour", "Colon tumour", (144, 238, 144), "108369006", "Neoplasm", category=ALTERED),
        Organ("hepatic_vessels", "Hepatic vessels", (0, 151, 206), "59820001", "Blood vessel"),
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

    def __post_init__(self) -> None:
        check_fields("label set", vars(self), {"name": NAME})
        if not 0 < len(self.labels) <= MAX_LABELS:
            raise ValueError(f"The label set has {len(self.labels)} organs; give 1 to {MAX_LABELS}.")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"The label set has the organ {shown(twice)} twice; give every organ a name of its own.")

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
        raise ValueError(f"'{name}' is not an organ of this model{_did_you_mean(name, self._spellings())}; choose from "
                         f"{', '.join(self.names)}.")

    def find(self, text: str) -> Label:
        """The label that a person means: its name or title, in any case, with blanks, hyphens or nothing between words.

        Raises:
            ValueError: the set has no such organ.
        """
        name = text if text in self.names else self._spellings().get(_letters(text), text)
        return self.by_name(name)

    def names_of(self, texts: Iterable[str]) -> tuple[str, ...]:
        """The names of the organs that a person means, each once, in the order given.

        Raises:
            ValueError: the set lacks one.
        """
        return tuple(dict.fromkeys(self.find(text).name for text in texts))

    def _spellings(self) -> dict[str, str]:
        """Letters -> name; a name counts before another organ's title."""
        titles = {_letters(label.title): label.name for label in self.labels}
        return titles | {_letters(label.name): label.name for label in self.labels}

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "organs": [asdict(label.organ) for label in self.labels]}

    @classmethod
    def from_json(cls, data: Any) -> LabelSet:
        """Rebuild a label set from a card.

        Raises:
            ValueError: a field is missing, unknown or has an impossible value.
        """
        table = table_of("label set", data, ("name", "organs"), ("name", "organs"))
        check_fields("label set", table, {"organs": _ORGANS})
        return make_label_set(table["name"], [_organ_from_json(organ) for organ in table["organs"]])


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _did_you_mean(text: str, spellings: Mapping[str, str]) -> str:
    """A bracket with the likeliest names, or nothing."""
    from difflib import get_close_matches

    likely = dict.fromkeys(spellings[found] for found in get_close_matches(_letters(text), spellings))
    return f" (did you mean {' or '.join(likely)}?)" if likely else ""


def _organ_from_json(data: Any) -> Organ:
    values = known_fields(Organ, data)
    return Organ(**{name: value for name, value in values.items() if name != "category" or value is not None})


def make_label_set(name: str, organs: list[Organ]) -> LabelSet:
    """Number ``organs`` 1..n in the given order."""
    return LabelSet(name, tuple(Label(i, organ) for i, organ in enumerate(organs, start=1)))


def _named(name: str, *organs: str) -> LabelSet:
    return make_label_set(name, [ORGANS[organ] for organ in organs])


def numbered_label_set(count: int) -> LabelSet:
    """Classes that nobody named: class_1 ... class_n, coded as Slicer codes a new segment."""
    tissue = ("85756007", "Tissue")
    return make_label_set(f"classes_{count}", [Organ(f"class_{i}", f"Class {i}", _hue(i / count), *tissue,
                                                     category=tissue) for i in range(1, count + 1)])


def _hue(fraction: float) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(fraction, 0.5, 0.85))
    return red, green, blue


BTCV_11 = ("spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
           "inferior_vena_cava", "portal_and_splenic_vein", "pancreas")

LABEL_SETS = {
    labels.name: labels
    for labels in (
        # The eight organs of the Synapse/BTCV protocol in TransUNet's order, used by SAMed, H-SAM and SAMora.
        _named("synapse", "spleen", "right_kidney", "left_kidney", "gallbladder", "liver", "stomach", "aorta",
               "pancreas"),
        _named("chaos_mr", "liver", "right_kidney", "left_kidney", "spleen"),
        # The challenge's thirteen (TP-Mamba); MA-SAM makes one organ of both adrenal glands.
        _named("btcv13", *BTCV_11, "right_adrenal_gland", "left_adrenal_gland"),
        _named("btcv12", *BTCV_11, "adrenal_glands"),
        _named("amos15", "spleen", "right_kidney", "left_kidney", "gallbladder", "esophagus", "liver", "stomach",
               "aorta", "inferior_vena_cava", "pancreas", "right_adrenal_gland", "left_adrenal_gland", "duodenum",
               "bladder", "prostate_or_uterus"),
        _named("liver", "liver"),
        _named("liver_tumour", "liver", "liver_tumour"),
        _named("kidney_tumour", "kidney", "kidney_tumour"),
        _named("pancreas_tumour", "pancreas", "pancreas_tumour"),
        _named("lung_tumour", "lung_tumour"),
        _named("colon_tumour", "colon_tumour"),
        _named("hepatic_vessels", "hepatic_vessels", "liver_tumour"),
        _named("spleen", "spleen"),
        _named("left_atrium", "left_atrium"),
        _named("prostate", "prostate"),
    )
}


def get_label_set(name: str) -> LabelSet:
    """The label set called ``name``.

    Raises:
        ValueError: no such label set.
    """
    if name not in LABEL_SETS:
        likely = _did_you_mean(name, {_letters(known): known for known in LABEL_SETS})
        raise ValueError(f"Unknown label set {shown(name)}{likely}; choose from {', '.join(LABEL_SETS)}.")
    return LABEL_SETS[name]
