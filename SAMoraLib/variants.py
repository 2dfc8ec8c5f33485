"""The variants as rows of a table: encoder x adapters x decoder (torch-free).

A variant has no code of its own. Sizes, ranks and class counts are fields; ``SAMoraLib.model.build_model`` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar

from SAMoraLib.fields import (
    FLAG,
    NAME,
    Rule,
    check_fields,
    instance_of,
    known_fields,
    line,
    number,
    one_of,
    optional,
    shown,
    tuple_of,
    whole,
)

EXPERTS = ("image", "patch", "pixel")
ADAPTERS = ("default", *EXPERTS)
CHOICES = {
    "decoder": ("mask", "hierarchical", "progressive", "conv3d", "high_res"),
    "low_rank": ("lora", "lora_gelu", "fact"),
    "depth_adapter": ("none", "convolution", "multi_scale", "plane_mamba", "triplane_mamba"),
    "backbone": ("segment_anything", "timm"),
    "prompt": ("none", "box"),
    "cm_attention": ("paper", "released"),
}
PLANES = ("volume", "hw", "dw", "dh")
FUSIONS = ("hl_attn", "hcat", "mole", "lac", "lorahub")


# What a model may be made of at most. Meta's largest encoders have 48 blocks, or 1,280 channels; a card that asks for
# far more is none of ours, and would take all memory or never come to an end.
MAX_BLOCKS, MAX_WIDTH, MAX_RANK, MAX_DEPTH, MAX_GRID = 64, 4096, 1024, 512, 256
_WIDTH, _TOKENS = whole(1, MAX_WIDTH), whole(1, MAX_GRID)
_HEADS = Rule("a whole number that divides the width", lambda value: type(value) is int and value <= MAX_WIDTH)
_BLOCK_INDEXES = tuple_of(whole(0, MAX_BLOCKS - 1), 0, MAX_BLOCKS)
_DECODER_RULES = {"out_chans": _WIDTH, "mask_in_chans": _WIDTH, "decoder_heads": _HEADS,
                  "decoder_mlp_dim": whole(1, 4 * MAX_WIDTH), "iou_hidden_dim": _WIDTH, "patch_size": whole(1, 64)}


def _require_heads(what: str, width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"{heads} heads do not divide the {what}'s width {width}; choose a divisor.")


@dataclass(frozen=True)
class EncoderSize:
    """Size of a SAM ViT and of the prompt encoder and mask decoder that belong to it."""

    family: ClassVar[str] = "sam_vit"
    embed_dim: int
    depth: int
    num_heads: int
    global_attn_indexes: tuple[int, ...]
    window_size: int = 14
    patch_size: int = 16
    out_chans: int = 256  # channels of the image embedding = width of the mask decoder
    mask_in_chans: int = 16
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_hidden_dim: int = 256
    depth_width: int = 384  # channels of MA-SAM's 3D adapters, the same for every ViT
    volume_width: int = 64  # channels of TP-Mamba's 3D decoder

    RULES: ClassVar[Mapping[str, Rule]] = _DECODER_RULES | {
        "embed_dim": _WIDTH, "depth": whole(1, MAX_BLOCKS), "num_heads": _HEADS,
        "global_attn_indexes": _BLOCK_INDEXES, "window_size": whole(0, MAX_GRID), "depth_width": _WIDTH,
        "volume_width": _WIDTH}

    def __post_init__(self) -> None:
        check_fields("encoder size", vars(self), self.RULES)
        _require_heads("encoder", self.embed_dim, self.num_heads)
        _require_heads("decoder", self.out_chans, self.decoder_heads)

    @property
    def first_patch(self) -> int:
        """Pixels between the first block's tokens."""
        return self.patch_size

    @property
    def token_dim(self) -> int:
        """Channels of the last block's tokens."""
        return self.embed_dim


ENCODER_SIZES = {
    "vit_b": EncoderSize(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": EncoderSize(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": EncoderSize(1280, 32, 16, (7, 15, 23, 31)),
    # For tests, the demo and laptops. No file of Meta's exists: Training/pretrain_base.py makes the base.
    "tiny": EncoderSize(128, 6, 4, (2, 5), window_size=10, patch_size=8, out_chans=128, decoder_heads=4,
                        decoder_mlp_dim=512, iou_hidden_dim=64, depth_width=64, volume_width=16),
}


@dataclass(frozen=True)
class HieraSize:
    """Size of SAM 2's Hiera and of the prompt encoder and mask decoder that belong to it.

    Attributes:
        embed_dim: channels of the first stage; they and the heads double with every further one.
        stages: blocks of each stage.
        global_attn_indexes: blocks whose tokens all see each other.
        window_spec: side of the windows of each stage, tokens.
        background: side of the position table that is stretched over the image.
        first_patch: pixels between the first stage's tokens.
    """

    family: ClassVar[str] = "sam2_hiera"
    first_patch: ClassVar[int] = 4
    embed_dim: int
    num_heads: int
    stages: tuple[int, ...]
    global_attn_indexes: tuple[int, ...]
    window_spec: tuple[int, ...] = (8, 4, 14, 7)
    background: int = 14
    out_chans: int = 256
    mask_in_chans: int = 16
    decoder_heads: int = 8
    decoder_mlp_dim: int = 2048
    iou_hidden_dim: int = 256
    patch_size: int = 16  # of the embedding, that is the third stage's; the first one's is 4

    RULES: ClassVar[Mapping[str, Rule]] = _DECODER_RULES | {
        "embed_dim": whole(1, MAX_WIDTH // 8), "num_heads": _HEADS, "stages": tuple_of(whole(1, MAX_BLOCKS), 4, 4),
        "global_attn_indexes": _BLOCK_INDEXES, "window_spec": tuple_of(_TOKENS, 4, 4), "background": _TOKENS}

    def __post_init__(self) -> None:
        check_fields("encoder size", vars(self), self.RULES)
        check_fields("encoder size", {"depth": self.depth}, {"depth": whole(1, MAX_BLOCKS)})
        _require_heads("encoder", self.embed_dim, self.num_heads)
        _require_heads("decoder", self.out_chans, self.decoder_heads)

    @property
    def depth(self) -> int:
        return sum(self.stages)

    @property
    def token_dim(self) -> int:
        """Channels of the tokens on the embedding's grid: the neck's, to which all stages give."""
        return self.out_chans

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each stage."""
        return tuple(self.embed_dim << stage for stage in range(len(self.stages)))


HIERA_SIZES = {
    "hiera_b+": HieraSize(112, 2, (2, 3, 16, 3), (12, 16, 20)),
    "hiera_t": HieraSize(96, 1, (1, 2, 7, 2), (5, 7, 9), background=7),
    "hiera_s": HieraSize(96, 1, (1, 2, 11, 2), (7, 10, 13), background=7),
    "hiera_l": HieraSize(144, 2, (2, 6, 36, 4), (23, 33, 43), (8, 4, 16, 8), background=7),
    # As "tiny": for tests and laptops.
    "hiera_nano": HieraSize(32, 1, (1, 1, 3, 1), (3,), (8, 4, 10, 5), background=7, out_chans=128, decoder_heads=4,
                            decoder_mlp_dim=512, iou_hidden_dim=64),
}
Sizes = Mapping[str, EncoderSize] | Mapping[str, HieraSize]


@dataclass(frozen=True)
class Fusion:
    """How the experts become one.

    Attributes:
        kind: "hl_attn" (SAMora eq. 6-8), or a row of tables 4 and 10: "hcat" (cross-attention layers with a
            feed-forward part), "mole" (a gate weighs the experts' streams), "lac" (the mean of what their low-rank
            pairs add) or "lorahub" (one low-rank pair, their weighted sum; three weights are learnt). What follows
            speaks of the first three; the last two have one stream, and "mole" neither order nor width.
        scope: "block" runs attention and MLP per expert (eq. 4-5); "attention" shares the MLP (released code).
        inputs: "difference" shows the fusion E_i - F, "stream" shows it E_i itself (eq. 6 to the letter); "mixed" lets
            HL-Attn compare tokens by E_i and take E_i - F of them.
        add_query: adds the query back after each cross-attention (released code; absent in eq. 8).
        order: the level at which (image, patch, pixel) enter: "2-1-1", "1-1-2" or "1-2-1" (supplement, table 11).
        width: d_k of eq. 8, of all heads together; 128 is the width that gives the papers' parameter count.
        heads: of HL-Attn's attentions.
        norm: normalises what HL-Attn's attentions see, per token and without weights: the projections that follow can
            scale, and a shift of all keys changes no softmax.
        self_attention: the query of each step first attends to itself, both attentions at half the width (figure 3
            speaks of a self-attention that it leaves out).
        gain: a gain per channel, zero at the start, multiplies E_Omega, in the place of a last projection of zeros:
            with ``add_query``, too, stage 2 then starts exactly at the pretrained encoder. The projections start so
            that each token takes from those that look like it what the level below says there.
    """

    scope: str = "block"
    inputs: str = "difference"
    add_query: bool = False
    order: str = "2-1-1"
    width: int = 128
    kind: str = "hl_attn"
    heads: int = 1
    norm: bool = False
    self_attention: bool = False
    gain: bool = False

    # Fields that versions before did not know, as what they made has them.
    LATER: ClassVar[Mapping[str, Any]] = {"heads": 1, "norm": False, "self_attention": False, "gain": False}
    CHOICES = {"kind": FUSIONS, "scope": ("block", "attention"), "inputs": ("difference", "stream", "mixed"),
               "order": ("2-1-1", "1-1-2", "1-2-1")}
    RULES: ClassVar[Mapping[str, Rule]] = {"add_query": FLAG, "width": _WIDTH, "heads": whole(1, MAX_WIDTH),
                                          "norm": FLAG, "self_attention": FLAG, "gain": FLAG}

    def __post_init__(self) -> None:
        check_fields("fusion", vars(self), self.RULES)
        for name, choices in self.CHOICES.items():
            _require(f"fusion {name}", getattr(self, name), choices)
        others = [name for name, value in self.LATER.items() if getattr(self, name) != value]
        others += ["mixed inputs"] if self.inputs == "mixed" else []
        if others and self.kind != "hl_attn":
            raise ValueError(f"A fusion's {', '.join(others)} can be chosen of hl_attn alone, and this one is "
                             f"{self.kind}; leave it out, or choose hl_attn.")
        attentions = 1 + self.self_attention
        if self.kind == "hl_attn" and self.width % (attentions * self.heads):
            raise ValueError(f"The fusion's width {self.width} cannot be divided into {attentions * self.heads} equal "
                             "heads; choose a multiple.")

    def to_json(self) -> dict[str, Any]:
        """For a card, as ``Variant.to_json``."""
        return _without_defaults(asdict(self), self.LATER)


@dataclass(frozen=True)
class Variant:
    """One row: which encoder, which adapters on it, which decoder, and what stage 2 trains.

    Attributes:
        adapters: names of the low-rank pairs on q and v of every block; ("default",) is SAMed's single LoRA.
        low_rank: how the pairs on q and v work: "lora", "lora_gelu" (TP-Mamba: a GELU in between), or "fact" (MA-SAM:
            two factors shared by all blocks).
        low_rank_scale: s, by which FacT's change is multiplied; MA-SAM's code takes it as an argument.
        depth_adapter: what looks across the slices of a slab in every block: "none", "convolution" (MA-SAM),
            "triplane_mamba" (TP-Mamba), or what TP-Mamba's code was released with, "multi_scale" (SAM_MS) and
            "plane_mamba" (SAM_Mamba).
        planes: what the Mambas go along: "volume" (all tokens of a slab), "hw" (a slice), "dw" and "dh" (across
            slices); their outputs are added.
        input_scale: how much slices are enlarged before the encoder (SAM_Mamba: 2).
        backbone: whose ViT the row was published with. "timm" (TP-Mamba) resizes the base's position table bicubically,
            averaging where it shrinks, where SAMed and its followers do so bilinearly, and its blocks' normalisations
            have an epsilon of 1e-5, not 1e-6.
        prompt: "box" for a model that segments what lies in a box, one target at a time (MA-SAM, table 4).
        cm_attention: of the hierarchical decoder (H-SAM): "paper", or "released" for published files, whose code makes
            its class attention a no-op.
        cm_widths: inside the attentions and the feed-forward part of that class attention; 0 for the published ones,
            the number of positions and the decoder's own.
        decoder: "mask" (SAM's), "hierarchical" (H-SAM), "progressive" (MA-SAM), "conv3d" (TP-Mamba), or "high_res"
            (SAM 2's, which goes with its Hiera).
        decoder_lora: SAMed_s, low-rank pairs inside the mask decoder's transformer, which itself stays frozen.
        trained: the parts that stage 2 trains, see ``SAMoraLib.parts``.
    """

    name: str
    encoder: str = "vit_b"
    adapters: tuple[str, ...] = ("default",)
    rank: int = 4
    low_rank: str = "lora"
    low_rank_scale: float = 1.0
    depth_adapter: str = "none"
    planes: tuple[str, ...] = ("hw", "dw", "dh")
    input_scale: int = 1
    backbone: str = "segment_anything"
    fusion: Fusion | None = None
    decoder: str = "mask"
    decoder_lora: bool = False
    cm_attention: str = "paper"
    cm_widths: tuple[int, int] = (0, 0)
    depth: int = 1  # slices per slab
    prompt: str = "none"
    trained: tuple[str, ...] = ("lora", "transformer", "decoder", "prompt")
    paper: str = ""
    encoder_size: EncoderSize | HieraSize | None = field(default=None)  # overrides the named size, e.g. in parity tests

    LATER: ClassVar[Mapping[str, Any]] = {"low_rank_scale": 1.0, "cm_widths": (0, 0)}  # as Fusion's
    RULES: ClassVar[Mapping[str, Rule]] = {
        "name": NAME, "encoder": NAME, "adapters": tuple_of(one_of(ADAPTERS), 0, len(ADAPTERS)),
        "rank": whole(1, MAX_RANK),
        "planes": tuple_of(one_of(PLANES), 0, len(PLANES)), "input_scale": whole(1, 8),
        "fusion": optional(instance_of(Fusion, "a table of a fusion's fields")), "decoder_lora": FLAG,
        "depth": whole(1, MAX_DEPTH), "trained": tuple_of(NAME, 0, 16), "paper": line()}
    SCALE: ClassVar[Rule] = number(1e-6, 1e6)
    CM_WIDTHS: ClassVar[Rule] = tuple_of(whole(0, MAX_GRID**2), 2, 2)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            _require(name.replace("_", " "), getattr(self, name), choices)
        check_fields("variant", vars(self), self.RULES)
        if not self.CM_WIDTHS.holds(self.cm_widths):
            raise ValueError(f"The class attention's widths {shown(self.cm_widths)} are not two whole numbers from 0 "
                             f"to {MAX_GRID**2}; give two.")
        self._check_size()
        self._check_adapters()

    def _check_size(self) -> None:
        """The encoder is one that the decoder can work from."""
        if self.encoder_size is None:
            _require("encoder", self.encoder, tuple(sizes_for(self.decoder)))
            return
        kind = HieraSize if self.decoder == "high_res" else EncoderSize
        check_fields("variant", vars(self), {"encoder_size": instance_of(kind, f"the fields of a {kind.__name__}")})

    def _check_adapters(self) -> None:
        if not self.SCALE.holds(self.low_rank_scale) or (self.low_rank_scale != 1 and self.low_rank != "fact"):
            raise ValueError(f"Low-rank pairs of the kind '{self.low_rank}' cannot be multiplied by "
                             f"{shown(self.low_rank_scale)}; give fact {self.SCALE.wanted}, and the others 1.")
        if self.fusion is not None and self.low_rank != "lora":
            raise ValueError(f"Experts are fused as plain low-rank pairs, not as '{self.low_rank}'; choose lora, or a "
                             "variant without a fusion.")
        if self.fusion is not None and self.adapters != EXPERTS:
            raise ValueError(f"A fusion makes one of the adapters {', '.join(EXPERTS)}, not of "
                             f"{', '.join(self.adapters) or 'none'}; give these, or a variant without a fusion.")
        if self.decoder == "high_res" and (self.low_rank == "fact" or self.depth_adapter != "none"):
            raise ValueError(f"SAM 2's encoder takes neither fact nor a depth adapter, got '{self.low_rank}' and "
                             f"'{self.depth_adapter}'; choose lora and none, or another decoder than high_res.")

    @property
    def sees(self) -> str:
        """How the model goes through a volume: in "slices", each by itself; in "slabs" of ``depth`` slices, or what a
        box holds; or in "blocks", windows that slide over a grid in three dimensions.
        """
        if self.decoder == "conv3d":
            return "blocks"
        return "slabs" if self.depth > 1 or self.takes_boxes else "slices"

    @property
    def takes_boxes(self) -> bool:
        """Whether somebody has to say where each organ is."""
        return self.prompt == "box"

    @property
    def size(self) -> Any:
        """An ``EncoderSize``, or with the decoder "high_res" a ``HieraSize``."""
        return self.encoder_size or sizes_for(self.decoder)[self.encoder]

    def to_json(self) -> dict[str, Any]:
        """For a card: without the fields that versions before did not know, where they are as they were then."""
        fusion = self.fusion and self.fusion.to_json()
        return _without_defaults(asdict(self), self.LATER) | {"fusion": fusion}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Variant:
        """Rebuild a variant from a card.

        Raises:
            ValueError: the card names fields that this version does not know.
        """
        values = known_fields(cls, data, ("encoder", "adapters", "rank", "decoder", "depth", "trained"))
        if values.get("fusion") is not None:
            values["fusion"] = Fusion(**known_fields(Fusion, values["fusion"]))
        if values.get("encoder_size") is not None:
            kind: Any = HieraSize if values.get("decoder") == "high_res" else EncoderSize
            values["encoder_size"] = kind(**known_fields(kind, values["encoder_size"]))
        return cls(**values)


def _without_defaults(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def sizes_for(decoder: str) -> Sizes:
    """The encoders by name that a decoder can work from: SAM 2's wants finer maps, which a ViT does not make."""
    return HIERA_SIZES if decoder == "high_res" else ENCODER_SIZES


def _require(what: str, value: str, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"Unknown {what} {shown(value)}; choose from {', '.join(choices)}.")


_SAMORA = Variant("samora", adapters=EXPERTS, fusion=Fusion(), trained=("fusion", "transformer", "decoder"),
                  paper="SAMora, eq. 2-8")
_MA_SAM = Variant("ma_sam", rank=32, low_rank="fact", depth_adapter="convolution", decoder="progressive", depth=5,
                  trained=("lora", "depth", "transformer", "decoder", "prompt"), paper="arXiv:2309.08842")

VARIANTS = {
    variant.name: variant
    for variant in (
        # The encoder and decoder as Meta trained them, whole: what Training/pretrain_base.py trains.
        Variant("sam", adapters=(), trained=("base", "transformer", "decoder", "prompt"), paper="arXiv:2304.02643"),
        Variant("samed", paper="arXiv:2304.13785"),
        Variant("samed_s", decoder_lora=True, trained=("lora", "decoder", "prompt"), paper="arXiv:2304.13785"),
        _SAMORA,
        Variant("h_sam", decoder="hierarchical", paper="arXiv:2403.18271"),
        replace(_SAMORA, name="h_samora", decoder="hierarchical"),
        _MA_SAM,
        # The same, told by a box which target to segment and where.
        replace(_MA_SAM, name="ma_sam_box", prompt="box"),
        Variant("tp_mamba", rank=64, low_rank="lora_gelu", depth_adapter="triplane_mamba", backbone="timm",
                decoder="conv3d", depth=96, trained=("lora", "depth", "decoder"), paper="TP-Mamba, MICCAI 2024"),
        # SAM 2 on single images, whole: the base of the two rows below.
        Variant("sam_2", encoder="hiera_b+", adapters=(), decoder="high_res",
                trained=("base", "transformer", "decoder", "prompt"), paper="arXiv:2408.00714"),
        Variant("samed_2", encoder="hiera_b+", decoder="high_res", paper="SAMora, table 1"),
        replace(_SAMORA, name="samora_2", encoder="hiera_b+", decoder="high_res"),
    )
}


def row_on(encoder: str, name: str) -> str:
    """The row ``name`` ("sam", "samed", "samora"), or its like on SAM 2 where the encoder is one of SAM 2's."""
    return f"{name}_2" if encoder in HIERA_SIZES else name


def get_variant(name: str, encoder: str | None = None, /, **changes: Any) -> Variant:
    """The row ``name``, optionally with another encoder size or other fields changed.

    Raises:
        ValueError: no such variant or encoder.
    """
    _require("variant", name, tuple(VARIANTS))
    variant = VARIANTS[name]
    return replace(variant, encoder=encoder or variant.encoder, **changes)
