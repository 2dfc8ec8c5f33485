"""Where the body lies in the slices: a square box around it, so that every patient fills the slab alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from SAMoraLib.preprocessing.settings import Preprocessing
from SAMoraLib.volume import Volume

AIR_BELOW_HU = -300  # between lung and fat; the skin line is steep
COARSE_MM = 3.0  # the body is searched on a grid of about this step: fast, and unmoved by noise
ALSO_BODY = 0.1  # of the largest slice's area: less is a table, or noise
MARGIN = 0.02  # of the body's larger side, on each side
MIN_SIDE_MM = 50.0
NECK_MM = 30.0
OTSU_BINS = 256
IN_PLANE = ndimage.generate_binary_structure(3, 1) & np.array([False, True, False])[:, None, None]  # maybe one slice


@dataclass(frozen=True)
class Box:
    """Rows y0..y1 and columns x0..x1 (exclusive) of every slice, in voxels; may reach beyond the slice."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.y1 - self.y0, self.x1 - self.x0

    def crop(self, slices: np.ndarray) -> np.ndarray:
        """(..., H, W) -> (..., h, w); what lies beyond the slice is 0."""
        cropped = np.zeros((*slices.shape[:-2], *self.shape), slices.dtype)
        on_slice, in_box = self._overlap(slices.shape[-2], slices.shape[-1])
        cropped[in_box] = slices[on_slice]
        return cropped

    def paste(self, cropped: np.ndarray, slices: np.ndarray) -> None:
        """Write (..., h, w) to its place in (..., H, W); what lies beyond the slice is dropped."""
        on_slice, in_box = self._overlap(slices.shape[-2], slices.shape[-1])
        slices[on_slice] = cropped[in_box]

    def _overlap(self, height: int, width: int) -> tuple[tuple, tuple]:
        """The part shared with a slice, as an index into the slice and one into the box."""
        y0, y1 = np.clip((self.y0, self.y1), 0, height).tolist()
        x0, x1 = np.clip((self.x0, self.x1), 0, width).tolist()
        on_slice = (..., slice(y0, y1), slice(x0, x1))
        return on_slice, (..., slice(y0 - self.y0, y1 - self.y0), slice(x0 - self.x0, x1 - self.x0))


@dataclass(frozen=True)
class Body:
    """The body found on a coarse grid.

    Attributes:
        mask: (d, h, w), every ``steps``-th voxel of the volume; nowhere empty: without a body, all of it.
        steps: voxels per coarse voxel along each array axis.
        slices: (d,) bool, those that show the mask or, beyond a gap, something of a body's size.
    """

    mask: np.ndarray
    steps: tuple[int, int, int]
    slices: np.ndarray

    def voxels(self, array: np.ndarray) -> np.ndarray:
        """The body's values in ``array`` (D, H, W), one per coarse voxel."""
        return _coarse(array, self.steps)[self.mask]


def _coarse(array: np.ndarray, steps: tuple[int, int, int]) -> np.ndarray:
    return array[tuple(slice(None, None, step) for step in steps)]


def find_body(canonical: Volume, preprocessing: Preprocessing) -> Body:
    """The largest connected thing that is not air (CT: above -300 HU; MR: above Otsu's threshold); in a CT without the
    arms that touch it.
    """
    k, j, i = (max(1, round(COARSE_MM / size)) for size in reversed(canonical.spacing))
    coarse = _coarse(canonical.array, (k, j, i))
    threshold = AIR_BELOW_HU if preprocessing.modality == "CT" else background_threshold(coarse)
    parts = _open_in_plane(coarse > threshold)
    mask = _fill_in_plane(_largest_part(parts))
    if preprocessing.modality == "CT":
        mask = _without_arms(mask)
    if not mask.any():
        mask = np.ones(coarse.shape, bool)
    areas = parts.sum(axis=(1, 2))
    return Body(mask, (k, j, i), mask.any(axis=(1, 2)) | (areas > ALSO_BODY * areas.max()))


def background_threshold(values: np.ndarray) -> float:
    """MR intensity between air and body: Otsu's threshold (IEEE Trans. SMC 1979) of the square roots.

    The root spreads the dark tissues and gathers the bright ones, so that the two classes are air and body
    rather than body and fat.
    """
    low, high = np.percentile(values, (0.5, 99))
    if not low < high:
        return float(low) - 1  # one value everywhere: all is body
    roots = np.sqrt(np.clip((values - low) / (high - low), 0, 1))
    counts, edges = np.histogram(roots, OTSU_BINS, (0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below, sums = counts.cumsum(), (counts * centres).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    root = edges[1 + int(np.nan_to_num(between).argmax())]
    return float(low + root**2 * (high - low))


def _open_in_plane(mask: np.ndarray) -> np.ndarray:
    """Remove what is thinner than two coarse voxels: the table's shell, clothes, noise."""
    eroded = ndimage.binary_erosion(mask, IN_PLANE, border_value=1)  # a body cut by the border stays whole
    return ndimage.binary_dilation(eroded, IN_PLANE)


def _fill_in_plane(mask: np.ndarray) -> np.ndarray:
    """Add what the body encloses: lungs, and in MR the organs where fat alone is bright enough to be seen."""
    return ndimage.binary_fill_holes(mask, IN_PLANE)


def _without_arms(mask: np.ndarray) -> np.ndarray:
    """Cut off what hangs on the trunk by less than twice ``NECK_MM`` in the plane: an arm at its side would make the
    box larger, and the patient in it smaller.
    """
    times = round(NECK_MM / COARSE_MM)
    trunk = _largest_part(ndimage.binary_erosion(mask, IN_PLANE, times, border_value=1))
    if not trunk.any():
        return mask  # nothing so thick
    return mask & ndimage.binary_dilation(trunk, IN_PLANE, times + 1)


def _largest_part(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    return parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def body_box(body: Body, canonical: Volume) -> Box:
    """The box around the body in all slices together: square in mm to within a voxel, with a margin."""
    extents = [_extent(body.mask, axis, body.steps[axis], canonical.array.shape[axis]) for axis in (1, 2)]
    sizes = (canonical.spacing[1], canonical.spacing[0])
    side = max((stop - start) * size for (start, stop), size in zip(extents, sizes, strict=True))
    side = max(side * (1 + 2 * MARGIN), MIN_SIDE_MM)
    (y0, y1), (x0, x1) = (_centred(start, stop, round(side / size))
                          for (start, stop), size in zip(extents, sizes, strict=True))
    return Box(y0, y1, x0, x1)


def largest_slice(volume: Volume, preprocessing: Preprocessing) -> int:
    """Pixels that a slice, or the square cut out of it, may have at most: known before the body is."""
    across = int(np.abs(np.reshape(volume.direction, (3, 3))[2]).argmax())  # the axis along the patient
    sizes, steps = np.delete(volume.array.shape[::-1], across), np.delete(volume.spacing, across)
    if preprocessing.crop != "body":
        return int(sizes.prod())
    longest = max(MIN_SIDE_MM, (sizes * steps).max() * (1 + 2 * MARGIN))
    return max(int(sizes.prod()), int(np.rint(longest / steps).prod()))


def body_slices(body: Body, count: int) -> np.ndarray:
    """(D,) bool: of ``count`` slices those from the first to the last that may show the body."""
    step = body.steps[0]
    found = np.flatnonzero(body.slices)
    wanted = np.zeros(count, bool)
    wanted[max(0, (found[0] - 1) * step + 1):(found[-1] + 1) * step] = True
    return wanted


def _extent(mask: np.ndarray, axis: int, step: int, size: int) -> tuple[int, int]:
    """First and last + 1 voxel of the mask along an array axis."""
    at = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
    return int(at[0]) * step, min((int(at[-1]) + 1) * step, size)


def _centred(start: int, stop: int, length: int) -> tuple[int, int]:
    first = (start + stop - length) // 2
    return first, first + length
