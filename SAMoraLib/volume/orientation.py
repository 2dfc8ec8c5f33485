"""Any grid to the nearest one along left, posterior, superior and back: axes are exchanged and flipped, no more.

A model whose slices were turned in its training sees them so, too: then rows and columns run elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations, product

import numpy as np

from SAMoraLib.volume.volume import Volume

# Headers hold directions as float32 or as text: below this, two orientations are equally close.
DECIMALS = 4
# Where an axis in the slice plane runs to: which of left, posterior, superior that is, and whether along it or against.
DIRECTIONS = {"left": (0, 1), "right": (0, -1), "posterior": (1, 1), "anterior": (1, -1)}
_UP = (2, 1)


@dataclass(frozen=True)
class Reorientation:
    """How array axes were exchanged and flipped.

    Attributes:
        axes: canonical array axis a is axis ``axes[a]`` of the original.
        flipped: the canonical array axes that run against the original.
    """

    axes: tuple[int, int, int]
    flipped: tuple[int, ...]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """An array on the original grid, in canonical order (contiguous)."""
        return np.ascontiguousarray(np.flip(array.transpose(self.axes), self.flipped))

    def restore(self, array: np.ndarray) -> np.ndarray:
        """An array in canonical order, on the original grid (contiguous)."""
        return np.ascontiguousarray(np.flip(array, self.flipped).transpose(np.argsort(self.axes)))


def to_canonical(volume: Volume, rows: str = "posterior", columns: str = "left") -> tuple[Volume, Reorientation]:
    """The volume with i to the patient's left, j to posterior and k to superior, as nearly as flips can make it.

    Args:
        rows: where j runs to instead, one of ``DIRECTIONS``.
        columns: where i runs to instead, across ``rows``.

    Of the 48 axis orders and flips the one with the largest trace of the direction matrix is taken; where two are
    equally close (a grid turned by 45 degrees), the one whose matrix is lexicographically larger. The choice
    depends on the set of candidates alone, so every re-oriented copy of a volume gives the same canonical array.

    Returns:
        The canonical volume, a voxel of which keeps its value and its LPS position; and the way back.
    """
    direction = np.reshape(volume.direction, (3, 3))
    order, signs = max(_signed_permutations(), key=lambda choice: _closeness(direction[:, choice[0]] * choice[1]))
    seen = (DIRECTIONS[columns], DIRECTIONS[rows], _UP)
    order, signs = [order[axis] for axis, _ in seen], [signs[axis] * sign for axis, sign in seen]
    # Arrays are (k, j, i) and geometry is (i, j, k): array axis a is grid axis 2 - a.
    axes = (2 - order[2], 2 - order[1], 2 - order[0])
    flipped = tuple(axis for axis in range(3) if signs[2 - axis] < 0)
    reorientation = Reorientation(axes, flipped)
    size = volume.array.shape[::-1]
    first = [(size[axis] - 1) if sign < 0 else 0 for axis, sign in zip(order, signs, strict=True)]
    steps = volume.ijk_to_lps[:3, :3][:, order]
    canonical = Volume(
        reorientation.apply(volume.array),
        _triple(np.take(volume.spacing, order)),
        _triple(volume.origin + steps @ first),
        tuple((direction[:, order] * signs).ravel().tolist()),
    )
    return canonical, reorientation


def _signed_permutations() -> list[tuple[list[int], list[int]]]:
    return [(list(order), list(signs)) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


def _closeness(direction: np.ndarray) -> tuple[float, list[float]]:
    rounded = np.round(direction, DECIMALS)
    return round(float(np.trace(direction)), DECIMALS), rounded.ravel().tolist()


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
