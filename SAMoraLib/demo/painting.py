"""Appearance: CT in HU for the phantom, and random contrasts for training that must not rely on HU."""

from __future__ import annotations

import numpy as np

from SAMoraLib.demo.shapes import bspline_weights, smooth_field
from SAMoraLib.demo.tissues import TISSUES

KINDS = sorted({tissue.kind for tissue in TISSUES})
KIND_OF_STRUCTURE = np.array([KINDS.index(tissue.kind) for tissue in TISSUES])


def _per_kind(rng: np.random.Generator) -> np.ndarray:
    """One standard normal number per structure, the same for structures of one kind."""
    return rng.standard_normal(len(KINDS))[KIND_OF_STRUCTURE]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], scale: tuple[float, ...]) -> np.ndarray:
    """A smooth field of unit variance with details of ``scale`` voxels along each axis."""
    weights = [bspline_weights(np.arange(n) / s, int(n / s) + 4) for n, s in zip(shape, scale, strict=True)]
    return smooth_field(rng, weights)


def _table(name: str) -> np.ndarray:
    return np.array([getattr(tissue, name) for tissue in TISSUES], np.float32)


def paint_ct(structures: np.ndarray, spacing: tuple[float, float, float],
             rng: np.random.Generator) -> np.ndarray:
    """A CT (D, H, W) int16 HU of ``structures``, whose voxels are ``spacing`` (x, y, z) mm apart.

    The phase between non-contrast and portal venous, the mean of each tissue and the noise level vary; voxels
    take part of their neighbours through a blur of the scanner's resolution and of the voxel's own size.
    """
    from scipy.ndimage import gaussian_filter

    step = np.array(spacing[::-1])
    phase = rng.choice([0.0, 1.0]) * rng.uniform(0.3, 1.15)
    means = _table("hu") + _table("spread") * _per_kind(rng)
    means += phase * _table("uptake") * np.clip(1 + 0.2 * _per_kind(rng), 0.5, 1.5)
    hu = means.astype(np.float32)[structures]
    coarse, fine = (_noise(rng, hu.shape, tuple(np.maximum(size / step, 1))) for size in (15, 5))
    hu += _table("texture")[structures] * (0.5 * coarse + 0.8 * fine)
    hu = gaussian_filter(hu, np.sqrt(0.8**2 + step**2 / 12) / step, truncate=3)
    grain = rng.standard_normal(hu.shape, dtype=np.float32)
    grain = gaussian_filter(grain, np.array([0.5, 1.1, 1.1]) / step, truncate=3)
    hu += rng.uniform(8, 18) / grain.std() * grain
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def contrast_medium(structures: np.ndarray, spacing: tuple[float, float, float],
                    rng: np.random.Generator) -> np.ndarray:
    """What contrast medium adds to a CT without any: HU (D, H, W) float32, between none and the portal venous phase.

    Args:
        structures: (D, H, W); ``spacing`` (x, y, z) in mm.
    """
    from scipy.ndimage import gaussian_filter

    uptake = rng.uniform(0.3, 1.15) * _table("uptake") * np.clip(1 + 0.2 * _per_kind(rng), 0.5, 1.5)
    sharp = uptake.astype(np.float32)[structures]
    added: np.ndarray = gaussian_filter(sharp, 1.0 / np.array(spacing[::-1]), truncate=3)
    return added


def _mr(sequence: str, rng: np.random.Generator) -> np.ndarray:
    signal = _table(sequence)
    return signal + 0.07 * _per_kind(rng) * np.minimum(1, 5 * signal)


def _windowed_ct(rng: np.random.Generator) -> np.ndarray:
    low, high = rng.uniform(-250, -80), rng.uniform(150, 350)
    enhanced = _table("hu") + rng.uniform(0, 1.2) * _table("uptake") + 12 * _per_kind(rng)
    return np.clip((enhanced - low) / (high - low), 0, 1)


def _arbitrary(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 1, len(KINDS))[KIND_OF_STRUCTURE]


def _random_means(rng: np.random.Generator) -> np.ndarray:
    """A signal in about [0, 1] for every structure, after CT, T1, fat-suppressed T2, or no modality."""
    draw = rng.random()
    if draw < 0.35:
        return _windowed_ct(rng)
    if draw < 0.85:
        return _mr("t2" if draw < 0.65 else "t1", rng)
    return _arbitrary(rng)


def paint_random(structures: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image (D, H, W) float32 in [0, 1] of ``structures`` in a random contrast (domain randomisation).

    Mean, texture, bias field, sharpness, noise and gamma are drawn anew; appearances like CT, T1 and T2-SPIR
    all occur. After SynthSeg (Billot et al., Medical Image Analysis 2023).

    Args:
        structures: (D, H, W) uint8 as in ``Phantom.structures``, with D the slices.
    """
    from scipy.ndimage import gaussian_filter

    shape = structures.shape
    texture = np.abs(rng.normal(0, 0.035, len(KINDS)))[KIND_OF_STRUCTURE] * (_table("texture") > 0)
    means = _random_means(rng)
    pattern = _noise(rng, shape, (1.5, 4, 4)) + 0.7 * _noise(rng, shape, (3, 12, 12))
    image = means.astype(np.float32)[structures] + texture.astype(np.float32)[structures] * pattern
    image *= np.exp(rng.uniform(0, 0.35) * _noise(rng, shape, tuple(max(n / 2.5, 1) for n in shape)))
    sharpness = rng.uniform(0.2, 1.1)
    image = gaussian_filter(image, (0.4 * sharpness, sharpness, sharpness), truncate=2.5)
    image += rng.uniform(0.005, 0.06) * rng.standard_normal(shape, dtype=np.float32)
    low, high = np.percentile(image[:, ::2, ::2], (0.5, 99.5))
    gamma = rng.uniform(0.7, 1.4)
    return (np.clip((image - low) / (high - low + 1e-6), 0, 1) ** gamma).astype(np.float32)


def paint_any(structures: np.ndarray, spacing: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """What any scanner may give of ``structures``, int16: one in four a CT in HU, the others as ``paint_random``, on a
    scale of up to some hundreds or thousands.

    Args:
        structures: (D, H, W); ``spacing`` (x, y, z) in mm.
    """
    if rng.random() < 0.25:
        return paint_ct(structures, spacing, rng)
    grey: np.ndarray = np.rint(rng.uniform(200, 3000) * paint_random(structures, rng)).astype(np.int16)
    return grey
