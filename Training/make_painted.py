"""Write deformed copies of one labelled CT, some painted anew, as a data set for Training.prepare.

    python -m Training.make_painted --image ct.nii.gz --label label_117classes.nii.gz --output runs/ct/cases --count 160

    python -m Training.make_painted ... --contrast any     # as CT, as MR and as nothing that is scanned

The label file carries TotalSegmentator's ids (version 2, 117 classes). One patient so becomes many: other postures,
sizes, resolutions, phases of contrast medium and, where painted, other HU of every tissue (domain randomisation).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from SAMoraLib.demo.painting import contrast_medium, paint_any, paint_ct
from SAMoraLib.demo.shapes import bspline_weights, smooth_field
from SAMoraLib.demo.tissues import LABEL_OF_STRUCTURE, STRUCTURE, STRUCTURES
from SAMoraLib.volume import Volume, to_canonical
from SAMoraLib.volume.io import read_volume, write_volume
from Training.data.workers import do_all
from Training.make_phantoms import CONTRASTS
from Training.settings.program import program

# Ids of TotalSegmentator 2 -> structure of the phantom that looks like it; bone, gut, kidney and lung are split below.
STRUCTURE_OF_ID = {
    "spleen": (1,), "right_kidney_cortex": (2,), "left_kidney_cortex": (3,), "gallbladder": (4,), "liver": (5,),
    "stomach_content": (6,), "pancreas": (7,), "adrenal": (8, 9), "lung": (10, 11, 12, 13, 14), "oesophagus": (15,),
    "bowel_content": (18, 19, 20), "left_kidney_cyst": (23,), "right_kidney_cyst": (24,),
    "bone_marrow": (*range(25, 51), *range(69, 79), *range(92, 117)), "heart": (51, 53, 61), "aorta": (52,),
    "inferior_vena_cava": (62, 63, 65, 66, 67, 68), "portal_vein": (64,), "spinal_canal": (79,),
    "muscle": tuple(range(80, 90)), "disc": (117,),  # costal cartilage
}
FAT_HU, GAS_HU, VESSEL_HU, CORTEX_HU = -30, -300, -400, 300  # between the tissues that the labels leave together
WALL_MM, RENAL_CORTEX_MM, BODY_HU = 4.0, 7.0, -250
ANY = 2  # beside 0 and 1, whether a copy is painted: the draws of a kind are its own
TURN, SIZE, BEND_MM, KNOT_MM = 8.0, (0.85, 1.15), 7.0, 50.0  # degrees; factors; standard deviation; distance of knots


@dataclass(frozen=True)
class Patient:
    """A labelled CT in canonical orientation: ``hu`` and ``structures`` (D, H, W), ``spacing`` (x, y, z) in mm."""

    hu: np.ndarray
    structures: np.ndarray
    spacing: tuple[float, float, float]


def read_patient(image: Path, label: Path) -> Patient:
    """The CT and its labels as structures of the phantom.

    Raises:
        ValueError: the label lies on another grid, or names no organ.
    """
    ct, labels = read_volume(image), read_volume(label)
    if ct.array.shape != labels.array.shape or not np.allclose(ct.origin, labels.origin, atol=0.1):
        raise ValueError(f"'{label}' lies on another grid than '{image}'; give the label that was made for this image.")
    canonical, _ = to_canonical(ct)
    ids, _ = to_canonical(ct.with_array(labels.array))
    structures = structures_of(ids.array, canonical.array, canonical.spacing)
    if not LABEL_OF_STRUCTURE[structures].any():
        raise ValueError(f"'{label}' holds none of the organs; give labels with the ids of TotalSegmentator 2.")
    return Patient(canonical.array, structures, canonical.spacing)


def structures_of(ids: np.ndarray, hu: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """Ids and HU (D, H, W) -> structures of the phantom, uint8; what has no id is told apart by its HU."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt, label

    parts, _ = label(hu > BODY_HU)
    body = parts == 1 + np.bincount(parts.ravel())[1:].argmax()
    body = np.stack([binary_fill_holes(axial) for axial in body])
    structures = np.full(ids.shape, STRUCTURE["air"], np.uint8)
    structures[body] = STRUCTURE["muscle"]
    structures[body & (hu < FAT_HU)] = STRUCTURE["visceral_fat"]
    structures[body & (hu < GAS_HU)] = STRUCTURE["bowel_gas"]
    structures[body & (hu > CORTEX_HU)] = STRUCTURE["bone_cortex"]
    for name, numbers in STRUCTURE_OF_ID.items():
        structures[np.isin(ids, numbers)] = STRUCTURE[name]

    def split(part: str, into: str, where: np.ndarray) -> None:
        structures[(structures == STRUCTURE[part]) & where] = STRUCTURE[into]

    def depth(part: str) -> np.ndarray:
        inside: np.ndarray = distance_transform_edt(structures == STRUCTURE[part], sampling=spacing[::-1])
        return inside

    split("bone_marrow", "bone_cortex", hu > CORTEX_HU)
    split("lung", "lung_vessel", hu > VESSEL_HU)
    for side in ("left", "right"):
        split(f"{side}_kidney_cortex", f"{side}_kidney_medulla", depth(f"{side}_kidney_cortex") > RENAL_CORTEX_MM)
    for gut in ("stomach", "bowel"):
        split(f"{gut}_content", f"{gut}_wall", (depth(f"{gut}_content") < WALL_MM) & (hu > GAS_HU))
        split(f"{gut}_content", f"{gut}_gas", hu < GAS_HU)
    return structures


def make_copy(patient: Patient, seed: int, painted: bool) -> tuple[Volume, Volume]:
    """A deformed copy, CT (int16 HU) and Synapse labels.

    Args:
        painted: all HU are painted anew; otherwise they are the patient's own, in some copies with contrast medium.
    """
    rng = np.random.default_rng([seed, painted])
    in_plane = rng.uniform(1.5, 2.4)
    spacing = (in_plane, in_plane, rng.uniform(2, 6))
    at = _sample_points(patient, spacing, rng)
    structures = _sampled_structures(patient.structures, at)
    if painted:
        hu = paint_ct(structures, spacing, rng)
    else:
        hu = _sampled_hu(patient.hu, at)
        if rng.random() < 0.6:
            hu = hu + contrast_medium(structures, spacing, rng)
        hu = np.clip(np.rint(hu + rng.normal(0, rng.uniform(1, 12), hu.shape)), -1024, 3071).astype(np.int16)
    ct = Volume(hu, spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    return ct, ct.with_array(LABEL_OF_STRUCTURE[structures])


def make_any(patient: Patient, seed: int) -> tuple[Volume, Volume]:
    """A deformed copy in a contrast that is drawn anew, in slices as thick as MR's may be: grey values and labels."""
    rng = np.random.default_rng([seed, ANY])
    in_plane = rng.uniform(1.2, 2.4)
    spacing = (in_plane, in_plane, rng.uniform(2, 9))
    structures = _sampled_structures(patient.structures, _sample_points(patient, spacing, rng))
    image = Volume(paint_any(structures, spacing, rng), spacing, (0.0, 0.0, 0.0), tuple(np.eye(3).ravel().tolist()))
    return image, image.with_array(LABEL_OF_STRUCTURE[structures])


def _sample_points(patient: Patient, spacing: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Where each voxel of the copy lies in the patient's array: (3, D, H, W) along z, y, x, in voxels."""
    from scipy.spatial.transform import Rotation

    own, step = np.array(patient.spacing[::-1]), np.array(spacing[::-1])
    extent = np.array(patient.hu.shape) * own
    shown = extent * (rng.uniform(0.6, 1), 1, 1)  # along z often less than all
    shape = np.maximum((shown / step).astype(int), 1)
    knots = [bspline_weights((np.arange(n) + 0.5) * s / KNOT_MM, int(n * s / KNOT_MM) + 4)
             for n, s in zip(shape, step, strict=True)]
    turn = Rotation.from_euler("zyx", rng.normal(0, TURN / 2, 3), degrees=True).as_matrix()
    linear = turn @ np.diag(rng.uniform(*SIZE, 3))
    grid = np.stack(np.meshgrid(*((np.arange(n) + 0.5) * s for n, s in zip(shape, step, strict=True)), indexing="ij"))
    centre = (extent - shown) * (rng.random(), 0.5, 0.5) + shown / 2
    mm = np.einsum("ab,bzyx->azyx", linear, grid - (shown / 2)[:, None, None, None]) + centre[:, None, None, None]
    mm += BEND_MM * np.stack([smooth_field(rng, knots) for _ in range(3)])
    points: np.ndarray = (mm / own[:, None, None, None] - 0.5).astype(np.float32)
    return points


def _sampled_structures(structures: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The structure with the largest share at each point: smooth borders also where the copy is finer."""
    from scipy.ndimage import map_coordinates

    best = np.zeros(at.shape[1:], np.float32)
    sampled = np.full(at.shape[1:], STRUCTURE["air"], np.uint8)
    for number in range(len(STRUCTURES)):
        mask = structures == number
        if not mask.any():
            continue
        share = map_coordinates(mask.astype(np.float32), at, order=1, cval=float(number == STRUCTURE["air"]))
        larger = share > best
        best[larger], sampled[larger] = share[larger], number
    return sampled


def _sampled_hu(hu: np.ndarray, at: np.ndarray) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    sampled: np.ndarray = map_coordinates(hu.astype(np.float32), at, order=1, cval=-1024.0)
    return sampled


def write_copies(patient: Patient, folder: Path, seeds: range, real: float, workers: int, contrast: str = "ct") -> None:
    """One image and one label file per seed; those there are kept.

    Args:
        real: the share with the patient's own HU.
        contrast: "any" paints all of them in contrasts of their own.
    """
    kept = [contrast == "ct" and 61 * number % 100 < 100 * real for number in range(len(seeds))]
    kinds = ["real" if own else "painted" if contrast == "ct" else "any" for own in kept]
    do_all(_write_copy, [(patient, folder, *job) for job in zip(seeds, kinds, strict=True)], workers, "copies")


def _write_copy(job: tuple[Patient, Path, int, str]) -> None:
    patient, folder, seed, kind = job
    name = f"{kind}_{seed}.nii.gz"
    image, label = folder / "imagesTr" / name, folder / "labelsTr" / name
    if image.exists() and label.exists():
        return
    copy, labels = make_any(patient, seed) if kind == "any" else make_copy(patient, seed, kind == "painted")
    write_volume(labels, label)
    write_volume(copy, image)


@program()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m Training.make_painted",
                                     description="Write deformed copies of one labelled CT as a data set.")
    parser.add_argument("--image", type=Path, required=True, help="CT")
    parser.add_argument("--label", type=Path, required=True, help="its labels, ids of TotalSegmentator 2")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--first-seed", type=int, default=30_000, help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=100, help="(default: %(default)s)")
    parser.add_argument("--real", type=float, default=0.4, help="share with the CT's own HU (default: %(default)s)")
    parser.add_argument("--contrast", choices=CONTRASTS, default="ct", help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        patient = read_patient(options.image, options.label)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    seeds = range(options.first_seed, options.first_seed + options.count)
    write_copies(patient, options.output, seeds, options.real, options.workers, options.contrast)


if __name__ == "__main__":
    main()
