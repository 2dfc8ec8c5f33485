"""Random transforms of slices, one resampling each; every draw comes from the generator that is passed in.

Legend: D slices, S side of the slab in pixels. Images are float32 in [0, 1], labels uint8.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BLUR_RADIUS = 3  # pixels; ample for the sigmas below

View = Callable[[Tensor, np.random.Generator], tuple[Tensor, ...]]


@dataclass(frozen=True)
class AugmentPolicy:
    """What may happen to a slice, and how often.

    Attributes:
        turn_and_flip: probability of a random quarter turn followed by a random flip, instead of the affine map.
        affine: probability of the affine map (rotation, scale, translation).
        rotation: largest rotation, degrees to either side.
        scale: smallest and largest magnification.
        translation: largest shift along each axis, as a fraction of the side.
        flip: probability of a flip along each axis by itself, beside the affine map.
        mirror: probability of a left-right mirror image; keep it 0 where left and right organs are told apart.
        elastic: probability of a smooth random deformation.
        elastic_size: standard deviation of the deformation at its nodes, as a fraction of the side.
        elastic_nodes: nodes of the deformation per side; fewer is smoother.
        intensity: probability of each of gamma, brightness with contrast, shading, blur and noise.
        gamma: smallest and largest exponent.
        brightness: largest offset, in units of the full range.
        contrast: smallest and largest factor about the middle of the range.
        shading: standard deviation of the logarithm of a smooth gain (the coil profile of MR).
        blur: smallest and largest sigma, pixels.
        noise: largest sigma of Gaussian noise, in units of the full range.
    """

    turn_and_flip: float = 0.0
    affine: float = 0.9
    rotation: float = 20.0
    scale: tuple[float, float] = (0.85, 1.15)
    translation: float = 0.05
    flip: float = 0.0
    mirror: float = 0.0
    elastic: float = 0.3
    elastic_size: float = 0.015
    elastic_nodes: int = 7
    intensity: float = 0.3
    gamma: tuple[float, float] = (0.7, 1.5)
    brightness: float = 0.1
    contrast: tuple[float, float] = (0.75, 1.25)
    shading: float = 0.15
    blur: tuple[float, float] = (0.5, 1.0)
    noise: float = 0.05

    def __post_init__(self) -> None:
        for name in ("turn_and_flip", "affine", "flip", "mirror", "elastic", "intensity"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"The augmentation's {name} is {getattr(self, name)}; give a probability, 0 to 1.")
        for name in ("scale", "gamma", "contrast", "blur"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"The augmentation's {name} is {low}..{high}; give a positive range, low first.")


DEFAULT = AugmentPolicy()
POLICIES = {
    "default": DEFAULT,
    "none": replace(DEFAULT, affine=0.0, elastic=0.0, intensity=0.0),
    # SAMed's random_rot_flip and random_rotate; the image is interpolated, where SAMed takes the nearest pixel.
    "samed": replace(DEFAULT, turn_and_flip=0.5, affine=0.5, scale=(1.0, 1.0), translation=0.0, elastic=0.0,
                     intensity=0.0),
    # Views for stage 1: the released SAMora code crops 0.6 to 1 of the side, hence magnifies up to 1.67.
    "views": replace(DEFAULT, turn_and_flip=0.2, affine=1.0, scale=(0.9, 1.6), translation=0.1, mirror=0.5,
                     intensity=0.5),
}


def augment(
    image: Tensor, label: Tensor | None, rng: np.random.Generator, policy: AugmentPolicy = DEFAULT
) -> tuple[Tensor, Tensor | None]:
    """One random version of a slice or a slab; the same transform for all D slices.

    Args:
        image: (D, S, S) float32 in [0, 1].
        label: (D, S, S) uint8, or None.

    Returns:
        image and label of the same shapes and types; what comes from outside the image is 0.
    """
    grid = sampling_grid(image.shape[-1], rng, policy)
    if grid is not None:
        image = _sample(image, grid, "bilinear")
        label = _sample(label.float(), grid, "nearest").to(label.dtype) if label is not None else None
    return change_intensity(image, rng, policy), label


def one_view(image: Tensor, rng: np.random.Generator, policy: AugmentPolicy = POLICIES["views"]) -> tuple[Tensor, ...]:
    """One random version of an image (D, S, S)."""
    return (augment(image, None, rng, policy)[0],)


def two_views(image: Tensor, rng: np.random.Generator, policy: AugmentPolicy = POLICIES["views"]) -> tuple[Tensor, ...]:
    """Two independent random versions of an image (D, S, S), a positive pair for contrastive learning."""
    return augment(image, None, rng, policy)[0], augment(image, None, rng, policy)[0]


def noisy_and_clean(
    image: Tensor, rng: np.random.Generator, policy: AugmentPolicy = POLICIES["none"], sigma: float = 0.08,
    blur: float = 0.5,
) -> tuple[Tensor, ...]:
    """A degraded image and the one it came from, both (D, S, S), for the pixel level's denoising.

    Gaussian noise of standard deviation ``sigma`` always, a blur before it with probability ``blur``
    (defaults of the released SAMora code).
    """
    clean, _ = augment(image, None, rng, policy)
    noisy = _blur(clean, 1.0) if rng.random() < blur else clean
    return (noisy + sigma * _noise(clean, rng)).clamp_(0, 1), clean


def sampling_grid(side: int, rng: np.random.Generator, policy: AugmentPolicy) -> Tensor | None:
    """Where each output pixel is read, (1, S, S, 2) in grid_sample's [-1, 1]; None for the identity."""
    matrix = _random_matrix(rng, policy)
    deformed = rng.random() < policy.elastic
    if matrix is None and not deformed:
        return None
    grid = F.affine_grid(torch.from_numpy(_IDENTITY if matrix is None else matrix)[None],
                         [1, 1, side, side], align_corners=False)
    if deformed:
        field = 2 * policy.elastic_size * _smooth_field(2, policy.elastic_nodes, side, rng)
        grid = grid + field.movedim(1, -1)
    return grid


_IDENTITY = np.eye(2, 3, dtype=np.float32)


def _random_matrix(rng: np.random.Generator, policy: AugmentPolicy) -> np.ndarray | None:
    """2 x 3, output to input coordinates; None for the identity."""
    if rng.random() < policy.turn_and_flip:
        return _turn_and_flip(rng)
    moved, mirrored = rng.random() < policy.affine, rng.random() < policy.mirror
    flipped = rng.random(2) < policy.flip if policy.flip else np.zeros(2, bool)  # no draw, none before this was here
    flipped[0] ^= mirrored
    if not moved and not flipped.any():
        return None
    matrix = _affine(rng, policy) if moved else _IDENTITY.copy()
    matrix[:, :2] *= np.where(flipped, -1, 1).astype(np.float32)
    return matrix


def _affine(rng: np.random.Generator, policy: AugmentPolicy) -> np.ndarray:
    angle = math.radians(rng.uniform(-policy.rotation, policy.rotation))
    scale = math.exp(rng.uniform(*np.log(policy.scale)))  # as often half as twice
    shift = 2 * rng.uniform(-policy.translation, policy.translation, size=2)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]], dtype=np.float32)


def _turn_and_flip(rng: np.random.Generator) -> np.ndarray:
    quarter = np.array([[0, -1], [1, 0]], dtype=np.float32)
    turned = _IDENTITY.copy()
    for _ in range(rng.integers(4)):
        turned = quarter @ turned
    turned[rng.integers(2)] *= -1
    return turned


def _sample(image: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(image[None], grid, mode=mode, padding_mode="zeros", align_corners=False)[0]


def _smooth_field(channels: int, nodes: int, side: int, rng: np.random.Generator) -> Tensor:
    """(1, channels, S, S): standard normal numbers at nodes x nodes, interpolated in between."""
    coarse = torch.from_numpy(rng.standard_normal((channels, nodes, nodes), dtype=np.float32))
    spread = _interpolation(nodes, side)
    return (spread @ coarse @ spread.T)[None]


@lru_cache(maxsize=8)
def _interpolation(nodes: int, side: int) -> Tensor:
    """(S, nodes): the matrix of cubic interpolation, so that a field costs two products instead of a resize."""
    rows = torch.eye(nodes)[:, None, None]
    return F.interpolate(rows, size=(1, side), mode="bicubic", align_corners=True)[:, 0, 0].T.contiguous()


def change_intensity(image: Tensor, rng: np.random.Generator, policy: AugmentPolicy) -> Tensor:
    """Gamma, brightness with contrast, shading, blur and noise, each with the policy's probability; stays in [0, 1]."""
    gamma, level, shading, blur, noise = rng.random(5) < policy.intensity
    if gamma:
        image = image.clamp(0, 1) ** math.exp(rng.uniform(*np.log(policy.gamma)))
    if level:
        offset = 0.5 + rng.uniform(-policy.brightness, policy.brightness)
        image = (image - 0.5) * rng.uniform(*policy.contrast) + offset
    if shading:
        image = image * (policy.shading * _smooth_field(1, 4, image.shape[-1], rng)[0]).exp()
    if blur:
        image = _blur(image, rng.uniform(*policy.blur))
    if noise:
        image = image + rng.uniform(0, policy.noise) * _noise(image, rng)
    return image.clamp(0, 1)


def _noise(image: Tensor, rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(image.shape), dtype=np.float32))


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur in the plane of (D, S, S), edges repeated."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=torch.float32)
    kernel = (-0.5 * (offsets / sigma) ** 2).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = F.pad(image[:, None], [BLUR_RADIUS] * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel), kernel.mT)[:, 0]
