"""The walls of the phantom: skin, fat, muscle, spine, ribs, diaphragm, lungs and heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SAMoraLib.demo.shapes import Canvas, Points, ellipsoid, smooth_union

SPINE_Y = 37.0
VERTEBRA_PITCH = 34.0


@dataclass(frozen=True)
class Cavity:
    """Signed distances (mm, whole grid), negative inside the body wall and below the diaphragm."""

    wall: np.ndarray
    diaphragm: np.ndarray


def paint_torso(canvas: Canvas) -> Cavity:
    """Paint everything that surrounds the abdominal organs; what is left for them is ``visceral_fat``."""
    wall = _wall(canvas)
    _paint_layers(canvas, wall)
    diaphragm = _diaphragm(canvas, wall)
    _paint_chest(canvas, wall, diaphragm)
    _paint_back_muscles(canvas)
    _paint_ribs(canvas, wall)
    _paint_spine(canvas)
    _paint_couch(canvas)
    return Cavity(wall, diaphragm)


def _superellipse(p: Points, centre_y: float, radii: tuple[float, float], power: float) -> np.ndarray:
    x, y = np.abs(p.x), np.abs(p.y - np.float32(centre_y))
    ratio = ((x / radii[0]) ** power + (y / radii[1]) ** power) ** np.float32(1 / power) + np.float32(1e-6)
    return (np.sqrt(x * x + y * y) * (1 - 1 / ratio)).astype(np.float32)


def _wall(canvas: Canvas) -> np.ndarray:
    rng = canvas.rng
    radii = (rng.uniform(128, 135), rng.uniform(82, 89))
    return _superellipse(canvas.points, -4, radii, rng.uniform(2.2, 2.6)) + 1.5 * canvas.noise(60)


def _paint_layers(canvas: Canvas, wall: np.ndarray) -> None:
    rng, p = canvas.rng, canvas.points
    groove = 7 * np.exp(-(p.x / 9) ** 2)
    back = _superellipse(p, 24, (rng.uniform(108, 118), 80), 2.7) + groove
    muscle = rng.uniform(10, 14) + 1.5 * canvas.noise(50)
    linea_alba = (np.abs(p.x) < 5) & (p.y < 0)
    fat = rng.uniform(5, 23) * (1 + 0.25 * np.clip(-p.z / 110, -1, 1)) + 2 * canvas.noise(80)
    outer = smooth_union(wall - muscle, back, 12)
    canvas.fill("skin", outer - fat < 2)
    canvas.fill("subcutaneous_fat", outer - fat < 0)
    canvas.fill("muscle", (outer < 0) & ~linea_alba)
    between_layers = np.abs(wall - muscle * np.float32(0.5) + canvas.noise(35)) < 0.5 + 0.6 * canvas.noise(25)
    canvas.fill("subcutaneous_fat", between_layers & (p.z < 40) & (np.abs(p.x) > 55), over=["muscle"])
    canvas.fill("visceral_fat", wall < 0)


def _diaphragm(canvas: Canvas, wall: np.ndarray) -> np.ndarray:
    """z minus the height of the two domes, which fall off within 70 mm of the body wall."""
    rng, p = canvas.rng, canvas.points
    top = rng.uniform(78, 87)
    left_lower = rng.uniform(4, 12)
    crown = top - left_lower / (1 + np.exp(-p.x / 15)) - 13 * np.exp(-((p.x - 5) / 28) ** 2)
    rim = 22 - 0.4 * p.y
    climb = np.sqrt(1 - (1 - np.clip(-wall / 72, 0, 1)) ** 2)
    return p.z - (rim + (crown - rim) * climb) + 1.5 * canvas.noise(50)


def _paint_chest(canvas: Canvas, wall: np.ndarray, diaphragm: np.ndarray) -> None:
    p, rng = canvas.points, canvas.rng
    mediastinum = smooth_union(ellipsoid(p, (0, 30, 130), (30, 48, 150)),
                               ellipsoid(p, (12, -40, 125), (66, 52, 62)), 15)
    canvas.fill("muscle", (diaphragm > 0) & (wall < 0), over=["visceral_fat"])
    chest = (diaphragm > 2.5) & (wall < 0)
    canvas.fill("visceral_fat", chest & (mediastinum < 0), over=["muscle"])
    canvas.fill("lung", chest & (mediastinum >= 0), over=["muscle"])
    vessels = np.abs(canvas.noise(14)) + np.abs(canvas.noise(14)) < 0.16
    canvas.fill("lung_vessel", vessels & (wall < -12) & (diaphragm > 8), over=["lung"])
    heart = ellipsoid(p, (16 + rng.uniform(-4, 4), -38, 118), (56, 42, 50)) + canvas.noise(30)
    canvas.fill("heart", (heart < -3) & (diaphragm > 2.5), over=["visceral_fat"])


def _paint_back_muscles(canvas: Canvas) -> None:
    p = canvas.points
    side = Points(np.abs(p.x), p.y, p.z)
    low = np.clip((25 - p.z) / 135, 0, 1)
    bulk = canvas.rng.uniform(0.9, 1.1)
    noise = canvas.noise(25)
    erector = ellipsoid(side, (30, 78, 0), (29 * bulk, 21 * bulk, 1e4))
    psoas = np.hypot((side.x - 31 - 6 * low), (side.y - 44) * 0.9) - 23 * bulk * np.sqrt(low)
    quadratus = np.hypot((side.x - 56) / 1.9, side.y - 68) - 9 * np.sqrt(low)
    crus = np.hypot((side.x - 13) * 1.4, side.y - 14 + p.z * 0.05) - 6.5 * np.clip((p.z + 60) / 60, 0, 1)
    for muscle in (erector, psoas, quadratus, crus):
        canvas.fill("muscle", muscle + noise < 0, over=["visceral_fat", "subcutaneous_fat", "lung"])
    septum = np.abs(erector + 3 + 4 * noise) < 0.1 + 0.7 * canvas.noise(20)
    canvas.fill("subcutaneous_fat", septum, over=["muscle"])


def _paint_ribs(canvas: Canvas, wall: np.ndarray) -> None:
    """Ribs lie in the body wall, start behind the spine and descend on their way to the front."""
    p = canvas.points
    around = np.arctan2(np.abs(p.x), p.y + 4)  # 0 at the back, pi at the front
    drop = canvas.rng.uniform(52, 62) * np.clip(around - 0.4, 0, 1.9)
    drop -= 60 * np.clip(around - 2.3, 0, 1)
    wobble = wall - 5 + canvas.noise(40) * 0.6
    first = canvas.rng.uniform(20, 40)
    for number, end in ((12, 0.95), (11, 1.35), (10, 2.5), (9, 2.9), (8, 2.9), (7, 2.9), (6, 2.9), (5, 2.9)):
        height = first + 26 * (12 - number) - drop
        shell = np.hypot(wobble / 3.4, (p.z - height) / 6.5) - 1
        bone = (shell < 0) & (around > 0.42) & (around < end)
        canvas.fill("disc", bone & (around > 2.25))
        canvas.fill("bone_cortex", bone & (around <= 2.25))
        canvas.fill("bone_marrow", bone & (around <= 2.25) & (shell < -0.5))


def _paint_spine(canvas: Canvas) -> None:
    box = canvas.box((-60, 0, -130), (60, 110, 130))
    p = canvas.points[box]
    p = Points(p.x, p.y - SPINE_Y - 5e-4 * (p.z - 40) ** 2 * np.sign(p.z - 40), p.z)
    phase = (p.z + canvas.rng.uniform(0, VERTEBRA_PITCH)) % VERTEBRA_PITCH - VERTEBRA_PITCH / 2
    middle = np.abs(phase)
    waist = 2.5 * np.cos(np.clip(phase / 12, -1, 1) * np.pi / 2)
    body = np.hypot(p.x, p.y * 1.32) - 23 + waist + 0.5 * canvas.noise(12, box)
    canal = np.hypot(p.x, p.y - 25) - 9
    arch = np.maximum(np.abs(canal - 3) - 3, -p.y + 14)
    spinous = np.maximum(np.abs(p.x) - 3.2, np.abs(p.y - 46 - 0.3 * phase) - 14)
    transverse = np.maximum(np.abs(p.y - 24 - 0.05 * np.abs(p.x)) - 4, np.abs(p.x) - 38)
    for shape, reach in ((transverse, 5.0), (spinous, 11.0), (arch, 12.5)):
        bone = np.maximum(shape, middle - reach)
        canvas.fill("bone_cortex", bone < 0, box)
        canvas.fill("bone_marrow", bone < -2.5, box)
    canvas.fill("spinal_canal", canal < 0, box)
    canvas.fill("disc", body < 0, box)
    vertebra = np.maximum(body, middle - VERTEBRA_PITCH / 2 + 4)
    canvas.fill("bone_cortex", vertebra < 0, box)
    canvas.fill("bone_marrow", vertebra < -2, box)


def _paint_couch(canvas: Canvas) -> None:
    """A thin curved table top just behind the back; it belongs to the room and ignores the patient's pose."""
    x, y, _ = canvas.axes
    occupied = np.flatnonzero(canvas.structures.any(axis=(0, 2)))
    top = y[occupied[-1]] + 5 - 6e-4 * x**2
    below = y[:, None] - top[None, :]
    canvas.fill("couch", np.broadcast_to((below > 0) & (below < 4), canvas.structures.shape), over=["air"])
