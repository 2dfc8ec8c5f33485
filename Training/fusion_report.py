"""What HL-Attn adds in each block of a trained model: how much, and whether tokens of a window get different things.

    python -m Training.fusion_report --manifest manifest.json --checkpoint C.safetensors [--base B.safetensors]

Softmax attention with nearly equal weights returns the mean over its window, the same for every token. The window's
share says how near the fusion is to that: 1 means that it shifts all tokens of a window alike.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from SAMoraLib.adapters.experts import ExpertStreams
from SAMoraLib.checkpoint import load_model
from SAMoraLib.model import SegmentationModel
from Training.data.manifest import read_manifest
from Training.data.slices import SliceDataset, build_cache
from Training.settings.program import program


@torch.inference_mode()
def fusion_shares(model: SegmentationModel, image: Tensor) -> list[tuple[float, float]]:
    """(size, window's share) of E_Omega (eq. 7) in each block.

    Args:
        image: (B, C, D, S, S) in [0, 1].

    Returns:
        For each block the root mean square of E_Omega over that of the block's output, and the part of E_Omega's mean
        square that is the window's mean.

    Raises:
        ValueError: the model has no fusion.
    """
    if model.variant.fusion is None or model.variant.fusion.kind != "hl_attn":
        raise ValueError(f"'{model.variant.name}' has no HL-Attn; give a checkpoint of samora.")
    fused: list[list[Tensor]] = []  # of each block the windows of every shape
    outputs: list[Tensor] = []
    handles = []
    for block in cast("Sequence[ExpertStreams]", model.image_encoder.blocks):
        fused.append([])
        handles += [block.fusion.register_forward_hook(_keep(fused[-1])), block.register_forward_hook(_keep(outputs))]
    try:
        model.eval()(image)
    finally:
        for handle in handles:
            handle.remove()
    return [_shares(windows, output) for windows, output in zip(fused, outputs, strict=True)]


def _shares(fused: list[Tensor], output: Tensor) -> tuple[float, float]:
    """Of one block, from its windows of every shape."""
    means = [windows.mean(dim=1, keepdim=True).expand_as(windows) for windows in fused]
    power = _power(*fused)
    return (power / _power(output)) ** 0.5, _power(*means) / max(power, 1e-30)


def _keep(outputs: list[Tensor]) -> Any:
    return lambda module, inputs, output: outputs.append(output)


def _power(*tensors: Tensor) -> float:
    """Mean square of all together."""
    total = sum(x.square().sum().item() for x in tensors)
    return total / sum(x.numel() for x in tensors)


@program(printing_is_all=True)
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.fusion_report", description="What HL-Attn adds.")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="base weights, if the checkpoint leaves them out")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache/slices"), help="(default: %(default)s)")
    parser.add_argument("--slices", type=int, default=16, help="of the validation cases (default: %(default)s)")
    options = parser.parse_args(arguments)
    model, card = load_model(options.checkpoint, base=options.base)
    assert card.preprocessing is not None  # load_model takes models alone, which have one
    manifest = read_manifest(options.manifest)
    slices = SliceDataset(build_cache(manifest, manifest.of("validation"), card.preprocessing, options.cache))
    chosen = torch.linspace(0, len(slices) - 1, min(options.slices, len(slices))).long().tolist()
    try:
        shares = fusion_shares(model, torch.stack([slices[0, index][0] for index in chosen]))
    except ValueError as error:
        parser.error(str(error))
    print("| block | size | window's share |\n|---|---|---|")
    for number, (size, share) in enumerate(shares):
        print(f"| {number} | {size:.3f} | {share:.2f} |")


if __name__ == "__main__":
    main()
