"""How a volume becomes a model's input, as data on its card (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from SAMoraLib.fields import NUMBER, Rule, check_fields, known_fields, number, one_of, shown, whole
from SAMoraLib.variants import Variant
from SAMoraLib.volume.orientation import DIRECTIONS

SCANS = ("CT", "MR")  # what scanners make of the abdomen
MAX_IMAGE_SIZE = 2048
MIN_SPACING = 0.2  # mm: a finer grid over a body holds more voxels than memory does


@dataclass(frozen=True)
class Preprocessing:
    """How a volume becomes slices in [0, 1].

    Attributes:
        modality: "CT", "MR", or "any" of both, where nothing is taken for granted of the grey values.
        intensity: "hu_window" clips to low..high HU; "percentile" clips to the low..high percentile of the body.
        crop: "none" stretches the whole slice to the slab (SAMed); "body" takes a square in mm around the body.
        image_size: side S of the square slab, pixels.
        neighbours: distance in mm of the slices that fill SAM's first and third channel, below and above the slice
            itself; 0 repeats the slice (SAMed, SAMora).
        spacing: mm between the voxels of the grid, the same along every axis, that a 3D model slides its window over
            (TP-Mamba: 1), ``image_size`` being the window's side; 0 takes slices as they lie, at the slab's size.
        rows: where the rows of a slice follow each other to: "posterior", or elsewhere for models that were trained on
            slices turned or mirrored, "anterior" on those that lie upside down (the Synapse arrays of TransUNet, SAMed
            and H-SAM), "left" or "right" on those with rows and columns exchanged.
        columns: where the columns follow each other to, across ``rows``: the patient's "left", or "right" (MA-SAM).
    """

    modality: str
    intensity: str
    low: float
    high: float
    crop: str
    image_size: int
    neighbours: float = 0.0
    spacing: float = 0.0
    rows: str = "posterior"
    columns: str = "left"

    CHOICES = {"modality": (*SCANS, "any"), "intensity": ("hu_window", "percentile"), "crop": ("none", "body"),
               "rows": tuple(DIRECTIONS), "columns": tuple(DIRECTIONS)}
    TYPES: ClassVar[Mapping[str, Rule]] = dict.fromkeys(("low", "high", "neighbours", "spacing"), NUMBER)
    RULES: ClassVar[Mapping[str, Rule]] = {
        "image_size": whole(1, MAX_IMAGE_SIZE), "low": number(-1e6, 1e6), "high": number(-1e6, 1e6),
        "neighbours": number(0, 1000), "spacing": number(0, 1000)}

    def __post_init__(self) -> None:
        for name, choices in self.CHOICES.items():
            if not one_of(choices).holds(value := getattr(self, name)):
                raise ValueError(f"Unknown {name} {shown(value)}; choose from {', '.join(choices)}.")
        check_fields("preprocessing", vars(self), self.TYPES)
        if DIRECTIONS[self.rows][0] == DIRECTIONS[self.columns][0]:
            raise ValueError(f"Rows that run to {self.rows} and columns that run to {self.columns} span no slice; let "
                             "one of them run to left or right and the other to posterior or anterior.")
        if self.modality == "any" and self.intensity == "hu_window":
            raise ValueError("Grey values of any contrast are no HU to cut a window from; set intensity to percentile.")
        if not self.low < self.high:
            raise ValueError(f"The intensity range {self.low}..{self.high} is empty; low must be below high.")
        if not self.neighbours >= 0:
            raise ValueError(f"Neighbouring slices cannot lie {self.neighbours} mm away; give a distance, or 0 for "
                             "none.")
        if not self.spacing >= 0:
            raise ValueError(f"A grid cannot have steps of {self.spacing} mm; give a distance, or 0 for none.")
        if self.spacing and self.neighbours:
            raise ValueError(f"A grid of {self.spacing} mm shows every slice anyway; set neighbours to 0.")
        check_fields("preprocessing", vars(self), self.RULES)
        if 0 < self.spacing < MIN_SPACING:
            raise ValueError(f"A grid of {self.spacing} mm is finer than any scan; give {MIN_SPACING} mm or more, or 0 "
                             "for none.")
        if self.intensity == "percentile" and not 0 <= self.low < self.high <= 100:
            raise ValueError(f"The percentiles {self.low}..{self.high} are not from 0 to 100; give two that are.")

    @classmethod
    def from_json(cls, data: Any) -> Preprocessing:
        """Rebuild it from a card.

        Raises:
            ValueError: a field is missing, unknown or has an impossible value.
        """
        return cls(**known_fields(cls, data))

    def to_json(self) -> dict[str, Any]:
        """For a card: as versions wrote it that knew no ``columns``, where these run to the left as they did then."""
        data = asdict(self)
        return data if self.columns != "left" else {name: data[name] for name in data if name != "columns"}

    @property
    def orientation(self) -> str:
        """Where rows and columns run to, for people."""
        return f"rows to {self.rows}, columns to {self.columns}"

    @property
    def channels(self) -> int:
        """1 where the slice is repeated, 3 where its neighbours are shown beside it."""
        return 3 if self.neighbours else 1


def check_grid(variant: Variant, preprocessing: Preprocessing) -> None:
    """Refuse a grid that the model does not slide over.

    Raises:
        ValueError: the model sees slices, but the preprocessing names a spacing.
    """
    if preprocessing.spacing and variant.sees != "blocks":
        raise ValueError(f"'{variant.name}' sees slices as they lie, not a grid of {preprocessing.spacing} mm; set the "
                         "preprocessing's spacing to 0, or choose tp_mamba.")
