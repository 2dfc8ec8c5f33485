"""How much of the organs a frozen encoder's tokens hold: a linear classifier on them, trained and judged in a minute.

    python -m Training.probe --manifest runs/chaos_mr/manifest.json --base runs/base/base.safetensors \\
        --experts runs/stage1/*/expert.safetensors --output runs/stage1/probe.json

One row per expert, and one for the encoder without any. A token's class is its centre pixel's; Dice is over all tokens
of a case and averaged over organs and cases. It says what an expert has learnt before any fine-tuning, not what stage 2
makes of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.card import Card, read_card
from SAMoraLib.checkpoint import load_experts
from SAMoraLib.model import SegmentationModel, as_rgb_slices, build_model
from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.system.files import write_json
from SAMoraLib.variants import Variant, get_variant
from SAMoraLib.weights.sam import load_base
from SAMoraLib.weights.tensors import read_tensors
from Training.data.few_shot import choose_slices
from Training.data.manifest import Manifest, read_manifest
from Training.data.slices import SliceCache, build_cache
from Training.settings.program import program

BATCH = 8  # slices at once
STEPS = 60  # of L-BFGS; the problem is convex
DECAY = 1e-4  # on the classifier's weights


@dataclass(frozen=True)
class Tokens:
    """What an encoder makes of some slices.

    Attributes:
        values: (slices, N, C), the last block's tokens.
        classes: (slices, N) int64, the label at each token's centre.
        cases: the case of each slice.
    """

    values: Tensor
    classes: Tensor
    cases: Sequence[str]


@torch.inference_mode()
def tokens_of(model: SegmentationModel, adapter: str | None, cache: SliceCache) -> Tokens:
    """All slices of a cache through the encoder, with one of its adapters or none."""
    patch, values, classes = model.variant.size.patch_size, [], []
    for start in range(0, len(cache), BATCH):
        part = range(start, min(start + BATCH, len(cache)))
        images = torch.from_numpy(np.stack([cache.image(index) for index in part]))[:, :, None]
        values.append(model.image_encoder.tokens(as_rgb_slices(images), adapter).flatten(1, 2))
        labels = np.stack([cache.label(index) for index in part])[:, patch // 2 :: patch, patch // 2 :: patch]
        classes.append(torch.from_numpy(labels.astype(np.int64)).flatten(1))
    return Tokens(torch.cat(values), torch.cat(classes), cache.cases)


def fit_classifier(tokens: Tensor, classes: Tensor, count: int) -> nn.Linear:
    """Softmax regression on (n, C) with classes weighted by the root of their rarity."""
    linear = nn.Linear(tokens.shape[1], count)
    nn.init.zeros_(linear.weight)
    weight = torch.bincount(classes, minlength=count).clamp(min=1).float().rsqrt()
    optimiser = torch.optim.LBFGS(linear.parameters(), max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(linear(tokens), classes, weight) + DECAY * linear.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return linear


def mean_dice(found: Tensor, test: Tokens, count: int) -> float:
    """Mean over cases and organs of Dice on tokens (slices, N); organs that a case does not have are left out."""
    scores = []
    for case in sorted(set(test.cases)):
        of_case = torch.tensor([name == case for name in test.cases])
        for organ in range(1, count):
            truth, guess = test.classes[of_case] == organ, found[of_case] == organ
            if truth.any():
                scores.append(float(2 * (truth & guess).sum() / (truth.sum() + guess.sum())))
    return float(np.mean(scores))


def probe(train: Tokens, test: Tokens, chosen: Sequence[int], count: int) -> float:
    """Dice on ``test`` of a linear classifier that has seen the slices ``chosen`` of ``train``."""
    values = train.values[list(chosen)].flatten(0, 1).clone()
    mean, deviation = values.mean(0), values.std(0) + 1e-6
    linear = fit_classifier((values - mean) / deviation, train.classes[list(chosen)].flatten(), count)
    with torch.inference_mode():
        return mean_dice(linear((test.values - mean) / deviation).argmax(-1), test, count)


def load(base: Path, expert: Path | None, plain: Variant, image_size: int) -> tuple[SegmentationModel, str | None]:
    """The base's encoder, with the expert's pairs and their name where one is given."""
    card = read_card(expert) if expert else None
    model = build_model(card.variant if card and card.variant else plain, 1, image_size)
    load_base(model, read_tensors(base))
    if expert is not None:
        load_experts(model, [expert], base)
    return model.eval(), card.name if card else None


def rows(base: Path, experts: Sequence[Path], manifest: Manifest, cache: Path, fractions: Sequence[float],
         seeds: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Mean and spread over the seeds for each expert and share of the training slices; the first have no expert."""
    preprocessing, variant, image_size = _described(read_card(experts[0]), experts[0])
    slices = [build_cache(manifest, manifest.of(split), preprocessing, cache) for split in ("train", "test")]
    plain = get_variant("sam", variant.encoder, encoder_size=variant.encoder_size)
    for expert in (None, *experts):
        train, test = (tokens_of(*load(base, expert, plain, image_size), part) for part in slices)
        for fraction in fractions:
            scores = [probe(train, test, choose_slices(train.cases, fraction, seed), len(manifest.labels) + 1)
                      for seed in (seeds if fraction < 1 else seeds[:1])]
            yield {"expert": str(expert or "none"), "fraction": fraction, "dice": float(np.mean(scores)),
                   "spread": float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0}


def _described(card: Card, path: Path) -> tuple[Preprocessing, Variant, int]:
    if card.kind != "expert" or card.variant is None or card.preprocessing is None:
        raise ValueError(f"'{path}' is a checkpoint of kind '{card.kind}', not an expert; train one with "
                         "Training.stage1_expert.")
    return card.preprocessing, card.variant, card.image_size


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--experts", type=Path, nargs="+", required=True, help="expert files of one base and size")
    parser.add_argument("--output", type=Path, required=True, help="JSON with one entry per row")
    parser.add_argument("--fractions", type=float, nargs="+", default=[0.1, 1.0], help="shares of the training slices")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="choices of the slices")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/slices"))
    options = parser.parse_args(arguments)
    table = []
    for row in rows(options.base, options.experts, read_manifest(options.manifest), options.cache, options.fractions,
                    options.seeds):
        print("{expert}: fraction {fraction}, Dice {dice:.3f} +- {spread:.3f}".format(**row), flush=True)
        table.append(row)
    write_json(options.output, table)


if __name__ == "__main__":
    main()
