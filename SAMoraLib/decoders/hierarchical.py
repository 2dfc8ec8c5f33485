"""H-SAM's two decoders: SAM's gives a prior mask, which guides a second one to the slice's own pixels (section 3).

Shapes: N slices, C width of the embedding, h x w its grid, L = h * w, K classes and background, S side of a slice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from SAMoraLib.decoders.class_attention import ClassAttention
from SAMoraLib.decoders.decoder import Decoder, Masks
from SAMoraLib.decoders.mask import build_sam_decoder
from SAMoraLib.decoders.masked_transformer import build_masked_transformer, cross_first
from SAMoraLib.decoders.progressive import upscaling_widths
from SAMoraLib.features import Features
from SAMoraLib.packages.segment_anything import MLP, LayerNorm2d, MaskDecoder, TwoWayTransformer
from SAMoraLib.variants import EncoderSize, Variant

POINTS = 11  # embeddings of nine kinds of points and a box's two corners: H-SAM's files have them, nothing uses them
RELEASED_NOISE = 0.2
# A transformer, the image, its positions and the tokens -> tokens and image.
Transform = Callable[[TwoWayTransformer, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Prior:
    """What the first decoder leaves to the second.

    Attributes:
        logits: (N, K, 4h, 4w).
        features: (N, K, L), each mask token times the embedding as the transformer left it.
        upscaled: (N, C/8, 4h, 4w), the first pixel decoder's output.
    """

    logits: Tensor
    features: Tensor
    upscaled: Tensor


def build_hierarchical_decoder(variant: Variant, num_classes: int, image_size: int) -> Decoder:
    """SAM's decoder and a second one that reaches S x S.

    Where the variant's class attention is "released", the first decoder's tokens look at the image before they look at
    each other, and the second decoder's embedding is doubled, whatever the class attention says.

    Raises:
        ValueError: patches that doubling does not enlarge to the slice.
    """
    size, cm_attention = variant.size, variant.cm_attention
    parts = dict(build_sam_decoder(variant, num_classes, image_size).parts)
    parts["prompt_encoder"].point_embeddings = nn.ModuleList(nn.Embedding(1, size.out_chans) for _ in range(POINTS))
    parts["mask_decoder2"] = SecondDecoder(size, num_classes + 1, image_size // size.patch_size, cm_attention,
                                           variant.cm_widths)
    return Decoder(parts, partial(_run, cross_first if cm_attention == "released" else _as_sam))


def _run(transform: Transform, model: Any, features: Features) -> Masks:
    _, dense = model.prompt_encoder(points=None, boxes=None, masks=None)
    positions = model.prompt_encoder.get_dense_pe()
    prior = first_masks(model.mask_decoder, features.embedding + dense, positions, transform)
    logits, iou = model.mask_decoder2(features.embedding, dense, positions, prior, features.noise)
    enlarged = F.interpolate(prior.logits, logits.shape[-2:], mode="bilinear", align_corners=False)
    # The released code averages logits, the paper speaks of probabilities.
    return Masks((enlarged + logits) / 2, iou, (prior.logits, logits))


def _as_sam(transformer: TwoWayTransformer, image: Tensor, positions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    return transformer(image, positions, tokens)


def first_masks(decoder: MaskDecoder, source: Tensor, positions: Tensor, transform: Transform = _as_sam) -> Prior:
    """The package's mask prediction, with what is otherwise lost on the way.

    Args:
        source: the embedding with the dense prompt (N, C, h, w).
        positions: (1, C, h, w).
    """
    tokens = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight]).expand(len(source), -1, -1)
    tokens, image = transform(decoder.transformer, source, positions, tokens)
    tokens = tokens[:, 1:]
    upscaled = decoder.output_upscaling(_as_map(image, source))
    logits = products(decoder.output_hypernetworks_mlps, tokens, upscaled)
    return Prior(logits, tokens @ image.transpose(1, 2), upscaled)


class SecondDecoder(nn.Module):
    """Class-balanced mask-guided attention, a masked transformer and a pixel decoder with a skip (H-SAM, figure 2).

    Args:
        channels: K.
        grid: side of the embedding's grid.
        cm_attention: "paper" or "released".
        cm_widths: of the class attention, see ``Variant``.
    """

    def __init__(self, size: EncoderSize, channels: int, grid: int, cm_attention: str,
                 cm_widths: tuple[int, int]) -> None:
        super().__init__()
        width = size.out_chans
        widths = upscaling_widths(size)[1:-1]
        self.cm_attention = cm_attention
        self.mask_tokens = nn.Embedding(channels, width)
        inner, hidden = cm_widths
        self.class_attention = ClassAttention(grid, channels, hidden or size.decoder_mlp_dim, inner)
        self.transformer2 = build_masked_transformer(size)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2), LayerNorm2d(width // 4), nn.GELU(),
            nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2), nn.GELU())
        self.skip_connect = _doublings(widths)
        self.output_hypernetworks_mlps2 = nn.ModuleList(MLP(width, width, widths[-1], 5) for _ in range(channels))
        self.iou_prediction_head = MLP(width, size.iou_hidden_dim, channels, 3)

    def forward(self, embedding: Tensor, dense: Tensor, positions: Tensor, prior: Prior,
                spread: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits (N, K, S, S) and predicted IoU (N, K).

        Args:
            embedding: (N, C, h, w).
            dense: the dense prompt, (1, C, h, w).
            positions: (1, C, h, w).
            spread: (N, h, w), of the class-balanced noise; it counts in training alone.
        """
        source = self.enhanced(embedding, dense, prior, spread)
        weights = _reduced(prior.logits, embedding).softmax(dim=1).flatten(2)
        tokens = self.mask_tokens.weight.expand(len(source), -1, -1)
        tokens, image = cross_first(self.transformer2, source, positions, tokens, weights)
        upscaled = torch.cat([self.output_upscaling(_as_map(image, source)), prior.upscaled], dim=1)
        logits = products(self.output_hypernetworks_mlps2, tokens, self.skip_connect(upscaled))
        return logits, self.iou_prediction_head(tokens[:, 0])

    def enhanced(self, embedding: Tensor, dense: Tensor, prior: Prior, spread: Tensor | None) -> Tensor:
        """The embedding and itself times the classes' saliency (H-SAM, figure 3), with the dense prompt; (N, C, h, w).

        The released code takes a softmax of the saliency over its one channel, which is 1 everywhere: it doubles the
        embedding, and trains with a noise of its own instead.
        """
        if self.cm_attention == "released":
            return 2 * ((_noisy(embedding) if self.training else embedding) + dense)
        source = embedding + dense
        features = prior.features.unflatten(2, source.shape[-2:])
        return source + source * self.class_attention(features, spread if self.training else None)


def products(hypernetworks: nn.ModuleList, tokens: Tensor, upscaled: Tensor) -> Tensor:
    """Each token's vector times every pixel: tokens (N, K, C), pixels (N, c, H, W) -> logits (N, K, H, W)."""
    vectors = torch.stack([network(token) for network, token in zip(hypernetworks, tokens.unbind(1), strict=True)], 1)
    return (vectors @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:])


def _doublings(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, kernel_size=2, stride=2), LayerNorm2d(after), nn.GELU()]
    return nn.Sequential(*layers)


def _as_map(sequence: Tensor, like: Tensor) -> Tensor:
    """(N, L, c) -> (N, c, h, w)."""
    return sequence.transpose(1, 2).unflatten(2, like.shape[-2:])


def _reduced(logits: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(logits, like.shape[-2:], mode="bilinear", align_corners=False)


def _noisy(embedding: Tensor) -> Tensor:
    return embedding + RELEASED_NOISE * (embedding.max() - embedding.min()) * torch.randn_like(embedding)
