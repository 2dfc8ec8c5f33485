"""Reading NIfTI: nothing that the header leaves out or contradicts is filled in without a word.

nibabel reads the header. Fields are those of nifti1.h (https://nifti.nimh.nih.gov/nifti-1); NIfTI-2 has them wider.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from SAMoraLib.volume.right_angles import require_right_angles
from SAMoraLib.volume.room import require_room
from SAMoraLib.volume.volume import Volume
from SAMoraLib.volume.voxel_size import require_voxel_size

Tell = Callable[[str], None]
MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # a code of xyzt_units: not said (mm by custom), m, mm, um
GREY = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
COLOUR = {128: 3, 2304: 4}  # datatype: components
COMPLEX = {32: "complex64", 1792: "complex128", 2048: "complex256"}
SHORTEST = 348  # bytes of a NIfTI-1 header
LONGEST = 540
MIRRORED_OR_TURNED_MM = 1.0  # two forms that put a corner farther apart than this tell of two places
PIXDIM_OFF = 0.01  # relative
LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI's axes run to right, anterior, superior
BLOCK = 1 << 24
LAST_OFFSET = 1 << 28  # what may lie before the voxels, extensions of the header, is small


def read_nifti(path: Path, tell: Tell) -> Volume:
    """Read a .nii or .nii.gz of one 3D volume.

    Where qform and sform differ, the sform counts, as in most programs, and ``tell`` is told.

    Raises:
        ValueError: damaged, longer or shorter than its header says, without a true voxel size, sheared, mirrored,
            colour or 4D.
    """
    header, array = _header_and_voxels(path)
    grid, origin = _grid(path.name, header, array.shape[::-1], tell)
    spacing = np.linalg.norm(grid, axis=0)
    x, y, z = origin.tolist()
    i, j, k = spacing.tolist()
    return Volume(_scaled(path.name, array, header), (i, j, k), (x, y, z), tuple((grid / spacing).ravel().tolist()))


def read_voxels(path: Path) -> np.ndarray:
    """(D, H, W) as stored, of a file that may lie anywhere.

    Raises:
        ValueError: as ``read_nifti``, but for the geometry.
    """
    return _header_and_voxels(path)[1]


def _header_and_voxels(path: Path) -> tuple[Any, np.ndarray]:
    try:
        with closing(_open(path)) as file:
            header = _header(path.name, file)
            shape, offset = _shape(path.name, header), _offset(path.name, header)
            return header, _voxels(path.name, file, offset, shape, _dtype(path.name, header))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"'{path.name}' cannot be read; it is damaged or incomplete, so copy or export it "
                         "again.") from error


def stored_bytes(path: Path) -> int:
    """What the voxels take, by the header alone.

    Raises:
        ValueError: it is no NIfTI header.
    """
    try:
        with closing(_open(path)) as file:
            header = _header(path.name, file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"'{path.name}' cannot be read; it is damaged.") from error
    size = 4 if _scale(header) else int(header["bitpix"]) // 8
    return math.prod(_shape(path.name, header)) * size


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if compressed else path.open("rb")


def _header(name: str, file: BinaryIO) -> Any:
    """A nibabel header of either version and byte order, not changed in any field."""
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    start = file.read(LONGEST)
    for kind, length, magic in ((Nifti1Header, SHORTEST, b"n+1"), (Nifti2Header, LONGEST, b"n+2")):
        for order in "<", ">":
            if len(start) >= length and int(np.frombuffer(start, f"{order}i4", 1)[0]) == length:
                header = kind(start[:length], endianness=order, check=False)
                if header["magic"].item() == magic and 0 < header["dim"][0] < 8:
                    return header
    raise ValueError(f"'{name}' cannot be read; it is not a NIfTI file, so save it as one, or give it the ending of "
                     "its format.")


def _shape(name: str, header: Any) -> tuple[int, int, int]:
    """Voxels along i, j, k."""
    count = int(header["dim"][0])
    sizes = [int(size) for size in header["dim"][1:1 + count]]
    if min(sizes) < 1:
        raise ValueError(f"'{name}' has the extents {' x '.join(map(str, sizes))}; its header is damaged, export it "
                         "again.")
    if count >= 5 and sizes[4] > 1:
        raise ValueError(f"'{name}' is a colour or vector image with {sizes[4]} components; give a volume with one "
                         "grey value per voxel.")
    if any(size > 1 for size in sizes[3:]):
        raise ValueError(f"'{name}' has {count} dimensions ({' x '.join(map(str, sizes))}); give one 3D volume, e.g. "
                         "one time point.")
    if count < 3:
        raise ValueError(f"'{name}' is an image of {count} dimensions ({' x '.join(map(str, sizes))}), and nothing "
                         "says how thick it is; give a volume, of one slice if need be.")
    return sizes[0], sizes[1], sizes[2]


def _offset(name: str, header: Any) -> int:
    """Where the voxels begin."""
    offset, first = float(header["vox_offset"]), header.sizeof_hdr + 4
    if not (first <= offset <= LAST_OFFSET and offset == int(offset)):
        raise ValueError(f"'{name}' is damaged: its voxels cannot begin at byte {offset:g}, for its header takes "
                         f"{first}; export it again.")
    return int(offset)


def _dtype(name: str, header: Any) -> np.dtype:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in COLOUR:
        raise ValueError(f"'{name}' is a colour or vector image with {COLOUR[code]} components; give a volume with one "
                         "grey value per voxel.")
    if code not in GREY:
        raise ValueError(f"'{name}' holds values of type {COMPLEX.get(code, code)}; give integers or real numbers.")
    kind = np.dtype(GREY[code]).newbyteorder(header.endianness)
    if bits != 8 * kind.itemsize:
        raise ValueError(f"'{name}' is damaged: values of type {kind.name} cannot take {bits} bits; export it again.")
    return kind


def _voxels(name: str, file: BinaryIO, offset: int, shape: tuple[int, int, int], kind: np.dtype) -> np.ndarray:
    """(D, H, W) in the machine's byte order; the file must end with the last."""
    size = math.prod(shape) * kind.itemsize
    if not isinstance(file, gzip.GzipFile) and (found := file.seek(0, 2)) < offset + size:
        raise ValueError(f"'{name}' is incomplete: {found} bytes of {offset + size}; copy or export it again.")
    require_room(name, size)
    array = np.empty(shape[::-1], kind)
    file.seek(offset)
    view, filled = array.reshape(-1).view(np.uint8).data, 0
    while filled < len(view) and (count := file.readinto(view[filled:filled + BLOCK])):  # type: ignore[attr-defined]
        filled += count
    if filled < len(view):
        raise ValueError(f"'{name}' is incomplete: {offset + filled} bytes of {offset + len(view)}; copy or export it "
                         "again.")
    if file.read(BLOCK):  # and no further, for a small file may unpack to any size
        raise ValueError(f"'{name}' is longer than its header says, more than {offset + filled} bytes, so that its "
                         "extents are wrong; export it again.")
    return array.astype(kind.newbyteorder("="), copy=False)


def _scale(header: Any) -> tuple[float, float] | None:
    """Slope and intercept; None where stored values are the values: slope 0, or not a number, says so."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return None
    intercept = 0.0 if np.isnan(intercept) else intercept
    return None if (slope, intercept) == (1, 0) else (slope, intercept)


def _scaled(name: str, array: np.ndarray, header: Any) -> np.ndarray:
    scale = _scale(header)
    if scale is None:
        return array
    slope, intercept = scale
    if not np.isfinite([slope, intercept]).all():
        raise ValueError(f"'{name}' is damaged: its values are scaled by {slope:g} and {intercept:g}; export it again.")
    kind = np.float64 if array.dtype.itemsize > 4 else np.float32
    require_room(name, array.size * np.dtype(kind).itemsize)
    scaled = np.empty(array.shape, kind)
    for number, plane in enumerate(array):  # in double precision, and never all of it at once
        scaled[number] = plane.astype(np.float64) * slope + intercept
    return scaled


def _grid(name: str, header: Any, shape: tuple[int, ...], tell: Tell) -> tuple[np.ndarray, np.ndarray]:
    """Steps of i, j, k as columns (3, 3) and the first voxel's place (3,), LPS mm."""
    unit = int(header["xyzt_units"]) & 7
    if unit not in MM:
        raise ValueError(f"'{name}' gives lengths in the unit {unit}, which NIfTI does not know; export it again.")
    by_sform, by_qform = _sform(name, header, MM[unit]), _qform(name, header, MM[unit])
    if by_sform is not None and by_qform is not None:
        _compare(name, by_sform, by_qform, shape, tell)
    if by_sform is not None:
        _compare_pixdim(name, header, MM[unit], by_sform[0], tell)
    elif by_qform is None:
        tell(f"'{name}' does not say how the patient lies in it (qform_code and sform_code are 0); left and right may "
             "be exchanged.")
    grid, origin = by_sform or by_qform or (np.diag(_pixdim(name, header, MM[unit])), np.zeros(3))
    return LPS @ grid, LPS @ origin


def _sform(name: str, header: Any, mm: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and origin in RAS mm."""
    if header["sform_code"] <= 0:
        return None
    rows = np.stack([header[field] for field in ("srow_x", "srow_y", "srow_z")]).astype(float) * mm
    require_finite(name, rows)
    require_voxel_size(np.linalg.norm(rows[:, :3], axis=0).tolist(), name)
    require_right_angles(rows[:, :3], name)
    return rows[:, :3], rows[:, 3]


def _qform(name: str, header: Any, mm: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Steps and origin in RAS mm; None too where a sform makes up for an impossible pixdim."""
    if header["qform_code"] <= 0:
        return None
    quaternion = np.array([header[f"quatern_{letter}"] for letter in "bcd"], float)
    origin = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], float) * mm
    sizes = np.array(header["pixdim"][1:4], float)
    if header["sform_code"] > 0 and not (np.isfinite(sizes).all() and (sizes > 0).all()):
        return None
    sizes = _pixdim(name, header, mm)
    require_finite(name, np.concatenate([quaternion, origin]))
    if quaternion @ quaternion > 1 + 1e-3:
        raise ValueError(f"'{name}' is damaged: its qform is no rotation; export it again.")
    sizes[2] *= -1 if header["pixdim"][0] < 0 else 1  # qfac
    return _rotation(quaternion) * sizes, origin


def _rotation(quaternion: np.ndarray) -> np.ndarray:
    """(b, c, d) of a unit quaternion, a >= 0, as a matrix: the formula of nifti1.h."""
    b, c, d = quaternion / max(1.0, float(np.linalg.norm(quaternion)))
    a = np.sqrt(max(0.0, 1 - (b * b + c * c + d * d)))
    return np.array([[a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                     [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                     [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c]])


def _pixdim(name: str, header: Any, mm: float) -> np.ndarray:
    sizes = np.array(header["pixdim"][1:4], float) * mm
    require_voxel_size(sizes.tolist(), name)
    return sizes


def require_finite(name: str, numbers: np.ndarray) -> None:
    """Refuse a place that is not finite.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    if not np.isfinite(numbers).all():
        raise ValueError(f"'{name}' is damaged: it does not say where its voxels lie, for a number of its header is "
                         "not finite; export it again.")


Form = tuple[np.ndarray, np.ndarray]


def _compare(name: str, by_sform: Form, by_qform: Form, shape: tuple[int, ...], tell: Tell) -> None:
    """Tell of two forms that put a voxel at two places; refuse two of which one is a mirror image."""
    if np.sign(np.linalg.det(by_sform[0])) != np.sign(np.linalg.det(by_qform[0])):
        raise ValueError(f"'{name}' is damaged: by its sform it is a mirror image of what it is by its qform, so left "
                         "and right are not known; export it again.")
    ends = np.array([[i, j, k] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    places = [ends @ grid.T + origin for grid, origin in (by_sform, by_qform)]
    apart = float(np.linalg.norm(places[0] - places[1], axis=1).max())
    if apart > MIRRORED_OR_TURNED_MM:
        tell(f"The two forms in the header of '{name}' disagree by up to {apart:.0f} mm; its sform is taken, and a "
             "program that takes its qform will show the result at another place.")


def _compare_pixdim(name: str, header: Any, mm: float, grid: np.ndarray, tell: Tell) -> None:
    """Tell of a voxel size that the sform contradicts."""
    sizes, stated = np.linalg.norm(grid, axis=0), np.array(header["pixdim"][1:4], float) * mm
    if not np.allclose(stated, sizes, rtol=PIXDIM_OFF):
        tell(f"The header of '{name}' names voxels of {_sizes(stated)} mm, but its sform says {_sizes(sizes)} mm; "
             "those are taken.")


def _sizes(sizes: np.ndarray) -> str:
    return " x ".join(f"{size:g}" for size in sizes)
