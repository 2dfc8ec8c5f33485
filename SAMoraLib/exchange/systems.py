"""The systems whose files are recognised: which row they are here, under which names, and how they were used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeAlias

from torch import Tensor

from SAMoraLib.exchange.h_sam import from_h_sam, to_h_sam
from SAMoraLib.exchange.ma_sam import from_ma_sam, to_ma_sam
from SAMoraLib.exchange.samed import from_samed, to_samed
from SAMoraLib.exchange.samora import from_samora, to_samora
from SAMoraLib.labels import LabelSet, get_label_set, numbered_label_set
from SAMoraLib.model import SegmentationModel
from SAMoraLib.parts import own_keys
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.variants import Variant, get_variant

Renaming: TypeAlias = Callable[[dict[str, Tensor]], dict[str, Tensor]]

META_FILES = {"vit_b": "sam_vit_b_01ec64.pth", "vit_l": "sam_vit_l_0b3195.pth", "vit_h": "sam_vit_h_4b8939.pth"}
# What reads a file without a look at its header gets its axes (i, j). Where they run to in the data that the systems
# were trained on: BTCV's CTs lie so, and MR as DICOM has it.
_RAW_CT, _RAW_MR = ("left", "anterior"), ("left", "posterior")
_OPPOSITE = {"left": "right", "right": "left", "posterior": "anterior", "anterior": "posterior"}
_MR = ("chaos_mr", "left_atrium", "prostate")
_SYNAPSE = MappingProxyType({8: "synapse"})


@dataclass(frozen=True)
class Turn:
    """How a system's preparation lays the axes (i, j) of a volume into its slices.

    Attributes:
        rows: the axis that the rows of a slice follow, "i" or "j"; with a minus against it.
        columns: the axis of its columns.
    """

    rows: str
    columns: str

    def of(self, i: str, j: str) -> tuple[str, str]:
        """Where rows and columns run to in the patient, of volumes whose axes run to ``i`` and ``j``."""
        runs = {"i": i, "j": j, "-i": _OPPOSITE[i], "-j": _OPPOSITE[j]}
        return runs[self.rows], runs[self.columns]


AS_READ = Turn("i", "j")
TRANSPOSED = Turn("j", "i")
TURNED = Turn("-j", "-i")  # rot90 and then a flip of the columns
UPRIGHT = Turn("-j", "i")  # a CT as a radiologist looks at it; of files that no preparation is known of


@dataclass(frozen=True)
class System:
    """A released code base and its files.

    Attributes:
        title: its name, for people.
        variant: our row for its files.
        parts: of the model that its files hold.
        to_ours: its tensors' names -> ours.
        to_theirs: the way back.
        image_size: what its code takes by default, pixels; its files do not say.
        window: HU that become 0 and 1.
        turn: how it lays a volume into slices.
        turns: label set -> another way, for data that it prepares otherwise.
        label_sets: number of classes -> the set that its protocol gives them.
    """

    title: str
    variant: Variant
    parts: tuple[str, ...]
    to_ours: Renaming
    to_theirs: Renaming
    image_size: int
    window: tuple[float, float] = (-125.0, 275.0)
    label_sets: Mapping[int, str] = field(default_factory=dict)
    turn: Turn = TRANSPOSED
    turns: Mapping[str, Turn] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Whether its files hold a decoder, so that they segment."""
        return "decoder" in self.parts

    def own_keys(self, model: SegmentationModel) -> list[str]:
        """Which of our model's tensors its files hold."""
        return own_keys(model, self.parts)

    def labels(self, classes: int, name: str | None = None) -> LabelSet:
        """The label set ``name``, or that of the system's protocol, or numbered classes where it has none.

        Raises:
            ValueError: no such set, or it has another number of organs.
        """
        name = name or self.label_sets.get(classes)
        labels = get_label_set(name) if name else numbered_label_set(classes)
        if len(labels) != classes:
            raise ValueError(f"The label set '{name}' names {len(labels)} organs and the file has {classes} classes; "
                             "choose a set of that many, or leave --labels out.")
        return labels

    def preprocessing(self, labels: LabelSet, image_size: int) -> Preprocessing:
        """CT in the system's window; MR, where windows mean nothing, up to its 99th percentile (MA-SAM)."""
        turn, is_mr = self.turns.get(labels.name, self.turn), labels.name in _MR
        rows, columns = turn.of(*(_RAW_MR if is_mr else _RAW_CT))
        if is_mr:
            return Preprocessing("MR", "percentile", 0.0, 99.0, "none", image_size, rows=rows, columns=columns)
        return Preprocessing("CT", "hu_window", *self.window, "none", image_size, rows=rows, columns=columns)


_SAMED, _SAMED_S, _MA_SAM = get_variant("samed"), get_variant("samed_s"), get_variant("ma_sam")
_H_SAM = get_variant("h_sam", cm_attention="released")

# The left atrium's volumes are prepared by UA-MT's code, which keeps the file's own order.
_H_SAM_TURNS = MappingProxyType({"left_atrium": AS_READ})

SYSTEMS = {
    "samed": System("SAMed", _SAMED, _SAMED.trained, from_samed, to_samed, 512, label_sets=_SYNAPSE),
    "samed_s": System("SAMed_s", _SAMED_S, _SAMED_S.trained, from_samed, to_samed, 512, label_sets=_SYNAPSE),
    "h_sam": System("H-SAM", _H_SAM, _H_SAM.trained, from_h_sam, to_h_sam, 224, label_sets=_SYNAPSE,
                    turns=_H_SAM_TURNS),
    "ma_sam": System("MA-SAM", _MA_SAM, _MA_SAM.trained, from_ma_sam, to_ma_sam, 512, (-200.0, 250.0), {12: "btcv12"},
                     turn=TURNED),
    "samora": System("SAMora", replace(_SAMED, name="expert_image", adapters=("image",), trained=("lora",)), ("lora",),
                     from_samora, to_samora, 224, turn=UPRIGHT),
    "sam_lora": System("SAM LoRA", _SAMED, ("lora",), from_samed, to_samed, 1024, turn=UPRIGHT),
}
