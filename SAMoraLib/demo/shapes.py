"""Implicit shapes in mm (signed distances, negative inside), smooth fields, and the canvas they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from SAMoraLib.demo.tissues import STRUCTURE

# Half extents of the field of view along x, y, z. Random fields are drawn on lattices that cover it, whatever
# the voxel spacing, so that an anatomy does not depend on the grid that it is sampled on.
FIELD_OF_VIEW = (200.0, 160.0, 110.0)
# How far the random warp may carry a point, in mm: four standard deviations.
WARP_REACH = 20.0
Point = ArrayLike  # x, y, z
Box = tuple[slice, slice, slice]
WHOLE: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True)
class Points:
    """Anatomical coordinates (mm; x to the left, y to posterior, z to superior) of a box of voxels."""

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def __getitem__(self, box: Box) -> Points:
        return Points(self.x[box], self.y[box], self.z[box])

    def stacked(self) -> np.ndarray:
        return np.stack([self.x, self.y, self.z], axis=-1)


def bspline_weights(positions: np.ndarray, knots: int) -> np.ndarray:
    """Cubic B-spline weights (N, knots) of positions given in knot units, with knot 1 at position 0."""
    distance = np.abs(positions[:, None] + 1 - np.arange(knots)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far).astype(np.float32)


def smooth_field(rng: np.random.Generator, weights: Sequence[np.ndarray]) -> np.ndarray:
    """A random field of unit variance from separable (N, knots) weights, one matrix per array axis."""
    field = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    for weight in weights:
        field = np.tensordot(field, weight, axes=(0, 1))  # three turns bring the axes back in order
    # A cubic B-spline lattice of unit noise keeps 151/315 of its variance along each axis.
    return field * np.float32((315 / 151) ** 1.5)


def ellipsoid(p: Points, centre: Point, radii: Point) -> np.ndarray:
    """Approximate signed distance to an axis-aligned ellipsoid."""
    (cx, cy, cz), (rx, ry, rz) = np.asarray(centre, np.float32), np.asarray(radii, np.float32)
    x, y, z = (p.x - cx) / rx, (p.y - cy) / ry, (p.z - cz) / rz
    scaled = np.sqrt(x * x + y * y + z * z) + np.float32(1e-6)
    slope = np.sqrt((x / rx) ** 2 + (y / ry) ** 2 + (z / rz) ** 2) + np.float32(1e-6)
    return scaled * (scaled - 1) / slope


def smooth_union(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Union of two signed distances with a fillet of about ``blend`` mm."""
    h = np.clip(0.5 + 0.5 * (b - a) / blend, 0, 1)
    return b + (a - b) * h - blend * h * (1 - h)


@dataclass(frozen=True)
class Tube:
    """A curved tube: (n, 3) centre line points in mm about 1.5 mm apart, and their radii."""

    line: np.ndarray
    radius: np.ndarray

    @property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        return self.line.min(0) - self.radius.max(), self.line.max(0) + self.radius.max()

    def distance(self, p: Points) -> np.ndarray:
        """Signed distance, trusted within 8 mm of the tube."""
        from scipy.spatial import cKDTree

        reach = float(self.radius.max()) + 8
        gap, nearest = cKDTree(self.line).query(p.stacked().reshape(-1, 3), distance_upper_bound=reach)
        radius = np.append(self.radius, 0)[nearest]
        return np.where(np.isinf(gap), reach, gap - radius).astype(np.float32).reshape(p.x.shape)


def tube(points: ArrayLike, radii: ArrayLike) -> Tube:
    """A tube through ``points`` (mm), whose radius runs through ``radii`` at them."""
    from scipy.interpolate import PchipInterpolator, make_interp_spline

    nodes = np.asarray(points, float)
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(nodes, axis=0), axis=1))])
    at = np.linspace(0, along[-1], max(2, int(along[-1] / 1.5)))
    line = make_interp_spline(along, nodes, k=min(3, len(nodes) - 1))(at)
    return Tube(line, np.asarray(PchipInterpolator(along, radii)(at)))


class Canvas:
    """A voxel grid with the pose and warp of one patient, painted structure by structure."""

    def __init__(self, rng: np.random.Generator, spacing: tuple[float, float, float]) -> None:
        self.rng = rng
        # As many voxels as fit, centred, so that every grid shows the same part of the patient.
        counts = [max(1, int(2 * half / step + 1e-6))
                  for half, step in zip(FIELD_OF_VIEW, spacing, strict=True)]
        self.axes = [step * (np.arange(n) - (n - 1) / 2) for n, step in zip(counts, spacing, strict=True)]
        self._pose()
        self.points = self._anatomical()
        self.structures = np.zeros([len(axis) for axis in reversed(self.axes)], np.uint8)

    def _pose(self) -> None:
        from scipy.spatial.transform import Rotation

        angles = self.rng.uniform(-1, 1, 3) * (5, 4, 10)
        scale = self.rng.uniform(0.97, 1.04) * self.rng.uniform(0.98, 1.02, 3)
        self.to_anatomy = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() / scale
        self.shift = self.rng.uniform((-6, -12, -11), (6, 6, 11))  # room for the couch behind the back

    def _anatomical(self) -> Points:
        x, y, z = (axis - offset for axis, offset in zip(self.axes, self.shift, strict=True))
        warps = [4.5 * self.noise(95) + 1.8 * self.noise(45) for _ in range(3)]
        z, y, x = z[:, None, None], y[:, None], x
        turned = [(a * x + b * y + c * z).astype(np.float32) for a, b, c in self.to_anatomy]
        return Points(*(coordinate + warp for coordinate, warp in zip(turned, warps, strict=True)))

    def noise(self, scale: float, box: Box = WHOLE) -> np.ndarray:
        """A random field of unit variance with details of ``scale`` mm, in ``box``."""
        weights = []
        for axis, half, part in zip(reversed(self.axes), reversed(FIELD_OF_VIEW), box, strict=True):
            knots = int(np.ceil(2 * half / scale)) + 4
            weights.append(bspline_weights((axis[part] + half) / scale, knots))
        return smooth_field(self.rng, weights)

    def box(self, low: Point, high: Point) -> Box:
        """The voxels that may lie between two corners in mm, however the patient is posed and warped."""
        corners = np.stack(np.meshgrid(*np.stack([low, high], axis=1), indexing="ij"), -1).reshape(-1, 3)
        world = corners @ np.linalg.inv(self.to_anatomy).T + self.shift
        ends = [np.searchsorted(axis, (a - WARP_REACH, b + WARP_REACH))
                for axis, a, b in zip(self.axes, world.min(0), world.max(0), strict=True)]
        return (slice(*ends[2]), slice(*ends[1]), slice(*ends[0]))

    def fill(self, name: str, inside: np.ndarray, box: Box = WHOLE,
             over: Sequence[str] | None = None) -> None:
        """Give the voxels ``inside`` to a structure; with ``over``, only those that now belong to these."""
        part = self.structures[box]
        if over is not None:
            allowed = np.zeros(256, bool)
            allowed[[STRUCTURE[o] for o in over]] = True
            inside = inside & allowed[part]
        part[inside] = STRUCTURE[name]
