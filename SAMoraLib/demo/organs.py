"""The viscera of the phantom: the eight Synapse organs, and the vessels and bowel around them.

Organs are painted in order of priority into what is still visceral fat, so they touch without overlapping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from SAMoraLib.demo.shapes import Box, Canvas, Point, Points, Tube, ellipsoid, smooth_union, tube
from SAMoraLib.demo.torso import Cavity

FREE = ("visceral_fat",)


def paint_organs(canvas: Canvas, cavity: Cavity, all_organs: bool) -> None:
    """Paint the abdominal organs; the gallbladder is missing in one of 50 patients unless ``all_organs``."""
    has_gallbladder = canvas.rng.random() > 0.02 or all_organs
    _paint_great_vessels(canvas)
    _paint_kidneys(canvas)
    _paint_pancreas(canvas)
    if has_gallbladder:
        _paint_gallbladder(canvas)
    _paint_stomach(canvas, cavity)
    _paint_spleen(canvas, cavity)
    _paint_duodenum(canvas)
    _paint_liver(canvas, cavity)
    _paint_bowel(canvas, cavity)


def _jitter(canvas: Canvas, points: ArrayLike, amount: float) -> np.ndarray:
    return np.asarray(points, float) + canvas.rng.uniform(-amount, amount, np.shape(points))


def _distance(canvas: Canvas, shape: Tube, roughness: float, scale: float = 25) -> tuple[Box, np.ndarray]:
    low, high = shape.bounds
    box = canvas.box(low - 5, high + 5)
    return box, shape.distance(canvas.points[box]) + roughness * canvas.noise(scale, box)


def _paint_tube(canvas: Canvas, name: str, points: ArrayLike, radii: ArrayLike, jitter: float = 1.5,
                over: Sequence[str] = FREE) -> None:
    box, distance = _distance(canvas, tube(_jitter(canvas, points, jitter), radii), 0.4)
    canvas.fill(name, distance < 0, box, over)


# Vessels and the like: structure, centre line (mm), radii (mm). The aorta is apart, as its size varies.
THIN_TUBES: tuple[tuple[str, ArrayLike, ArrayLike], ...] = (
    ("inferior_vena_cava", [(-20, -14, 85), (-24, -8, 55), (-23, 2, 20), (-21, 7, -30), (-20, 9, -140)],
     [12, 11, 10, 10.5, 10]),
    ("oesophagus", [(6, -6, 135), (12, -5, 80), (20, -6, 58)], [8, 8, 8]),
    # Superior mesenteric artery and vein, portal and splenic vein.
    ("mesenteric_vessel", [(6, -2, 14), (4, -18, 6), (3, -26, -25), (8, -34, -90)], [4, 3.5, 3.5, 3]),
    ("portal_vein", [(4, -26, -90), (-6, -24, -35), (-8, -20, 0), (-24, -14, 20), (-40, -8, 34)],
     [4, 5, 6.5, 7, 6]),
    ("portal_vein", [(-8, -20, 2), (25, -14, 12), (55, 6, 20), (80, 24, 26)], [5, 4.5, 4, 3]),
    # Renal veins; the left one crosses in front of the aorta.
    ("inferior_vena_cava", [(-14, 0, -14), (18, -6, -18), (42, 24, -18)], [5, 4.5, 4]),
    ("inferior_vena_cava", [(-20, 0, -26), (-30, 8, -30), (-42, 24, -30)], [5, 4.5, 4]),
    ("adrenal", [(26, 22, 18), (31, 26, 30), (34, 34, 34)], [3, 3.5, 2.5]),
    ("adrenal", [(-22, 22, 18), (-25, 26, 30), (-30, 34, 34)], [3, 3.5, 2.5]),
)


def _paint_great_vessels(canvas: Canvas) -> None:
    over = (*FREE, "muscle", "lung", "heart")
    size = canvas.rng.uniform(0.88, 1.1)
    _paint_tube(canvas, "aorta", [(14, 12, 135), (10, 10, 70), (6, 7, 20), (6, 3, -30), (8, 2, -140)],
                np.array([12, 11.5, 10, 9, 8]) * size, over=over)
    for name, path, radii in THIN_TUBES:
        _paint_tube(canvas, name, path, radii, over=over)


def _paint_kidneys(canvas: Canvas) -> None:
    rng = canvas.rng
    for side, name, height in ((1, "left_kidney", -16), (-1, "right_kidney", -32)):
        centre = np.array([side * 64, 36, height]) + rng.uniform(-1, 1, 3) * (5, 5, 11)
        radii = np.array([30.5, 27, 56.5]) * rng.uniform(0.95, 1.05) * rng.uniform(0.97, 1.03, 3)
        _paint_kidney(canvas, name, side, centre, radii)


def _kidney_frame(canvas: Canvas, p: Points, side: int, centre: np.ndarray) -> Points:
    """Coordinates of a kidney: its upper pole leans to the spine and backwards, its hilum faces forwards."""
    from scipy.spatial.transform import Rotation

    tilt = np.array([-14, -side * 14, -side * 28]) + canvas.rng.uniform(-9, 9, 3)
    frame = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix()
    x, y, z = np.moveaxis((p.stacked() - centre).astype(np.float32) @ frame.astype(np.float32), -1, 0)
    return Points(x, y, z)


def _paint_kidney(canvas: Canvas, name: str, side: int, centre: np.ndarray, radii: np.ndarray) -> None:
    rng = canvas.rng
    box = canvas.box(centre - 75, centre + 75)
    p = _kidney_frame(canvas, canvas.points[box], side, centre)
    outer = ellipsoid(p, (0, 0, 0), radii) + 1.0 * canvas.noise(22, box)
    hilum = Points(p.x * side, p.y, p.z)
    sinus = ellipsoid(hilum, (-16, 0, 0), (19, 9, 24)) + 1.5 * canvas.noise(12, box)
    fat_gap = rng.uniform(1, 6) + 2 * canvas.noise(40, box)
    parenchyma = (outer < 0) & (sinus > 0)
    canvas.fill(f"{name}_cortex", parenchyma, box, (*FREE, "inferior_vena_cava"))
    pyramids = (outer < -6.5) & (canvas.noise(13, box) > -0.35)
    canvas.fill(f"{name}_medulla", parenchyma & pyramids, box, [f"{name}_cortex"])
    pelvis = ellipsoid(hilum, (-12, 0, 0), (11, 4, 14)) + 1.5 * canvas.noise(10, box)
    canvas.fill("perirenal_fat", (outer < fat_gap) & (outer >= 0) | (sinus <= 0) & (outer < 0), box, FREE)
    canvas.fill("mesenteric_vessel", (pelvis < 0) & (sinus < 0), box, ["perirenal_fat"])
    if rng.random() < 0.25:
        beside = centre + np.array([side * 20, rng.uniform(-12, 12), rng.uniform(-40, 40)])
        _paint_cyst(canvas, f"{name}_cyst", beside, rng.uniform(5, 11), [f"{name}_cortex", f"{name}_medulla"])


def _paint_cyst(canvas: Canvas, name: str, centre: Point, radius: float, over: Sequence[str]) -> None:
    box = canvas.box(np.asarray(centre) - radius, np.asarray(centre) + radius)
    canvas.fill(name, ellipsoid(canvas.points[box], centre, (radius,) * 3) < 0, box, over)


def _paint_pancreas(canvas: Canvas) -> None:
    size = canvas.rng.uniform(1.08, 1.2)
    tail = canvas.rng.uniform(-10, 12)
    whole = canvas.rng.uniform(-7, 7, 3)
    path = [(-26, -20, -38), (-24, -23, -16), (-8, -32, 2), (10, -34, 10), (36, -22, 12 + tail / 2),
            (60, 2, 12 + tail), (82, 20, 16 + tail)]
    shape = tube(_jitter(canvas, path + whole, 3), np.array([9, 14.5, 10.5, 9.5, 10.5, 10.5, 7]) * size)
    box, distance = _distance(canvas, shape, 1.2, 18)
    lobules = np.float32(canvas.rng.uniform(0.4, 1.1)) * canvas.noise(6, box)
    canvas.fill("pancreas", distance + lobules < 0, box, FREE)


def _paint_gallbladder(canvas: Canvas) -> None:
    size = canvas.rng.uniform(0.95, 1.18)
    path = [(-32, -16, 4), (-42, -28, -8), (-52, -42, -22), (-58, -52, -34)]
    shape = tube(_jitter(canvas, path + canvas.rng.uniform(-8, 8, 3), 3), np.array([4, 10, 15, 13]) * size)
    box, distance = _distance(canvas, shape, 0.8)
    canvas.fill("gallbladder", distance < 0, box, FREE)


def _paint_stomach(canvas: Canvas, cavity: Cavity) -> None:
    rng = canvas.rng
    size = rng.uniform(0.68, 1.14)
    path = [(58, 12, 58), (64, -14, 50), (62, -42, 30), (50, -58, 2), (24, -60, -10), (-4, -54, -8),
            (-24, -44, -4)]
    # The body of the stomach hangs lower in some patients than its two ends.
    sag = np.outer((0, 0, 0.4, 1, 1, 0.7, 0.2), (0, 0, rng.uniform(-22, 8)))
    shape = tube(_jitter(canvas, path + sag, 6), np.array([25, 32, 29, 24, 19, 15, 9]) * size)
    box, distance = _distance(canvas, shape, 2.0)
    distance = np.maximum(distance, np.maximum(cavity.wall[box] + 3, cavity.diaphragm[box] + 3))
    wall = rng.uniform(3, 5) + 1.2 * canvas.noise(9, box)
    p = canvas.points[box]
    canvas.fill("stomach_wall", distance < 0, box, (*FREE, "oesophagus"))
    canvas.fill("stomach_content", distance < -wall, box, ["stomach_wall"])
    # Gas rises to the front of a supine patient: the fluid level is a coronal plane.
    level = rng.uniform(-75, -15)
    canvas.fill("stomach_gas", p.y < level, box, ["stomach_content"])


def _paint_spleen(canvas: Canvas, cavity: Cavity) -> None:
    rng = canvas.rng
    centre = np.array([97, 36, 27]) + rng.uniform(-8, 8, 3)
    radii = np.array([44, 56, 60]) * rng.uniform(0.96, 1.08)
    box = canvas.box(centre - 75, centre + 75)
    p = canvas.points[box]
    lean = Points(p.x, p.y + 0.35 * (p.z - np.float32(centre[2])), p.z)
    hollow = ellipsoid(p, (52, 0, 10), (30, 50, 60))
    distance = np.maximum(ellipsoid(lean, centre, radii) + 2 * canvas.noise(28, box), -hollow)
    distance = np.maximum(distance, np.maximum(cavity.wall[box] + 2, cavity.diaphragm[box] + 2.5))
    canvas.fill("spleen", distance < 0, box, FREE)


def _liver_lobes(canvas: Canvas, box: Box) -> np.ndarray:
    """Signed distance to the right lobe, cut by its sloping lower face, joined with the left lobe."""
    rng, p = canvas.rng, canvas.points[box]
    right = ellipsoid(p, (-74, 6, 14), np.array([76, 88, 94]) * rng.uniform(0.97, 1.04))
    steep = rng.uniform(0.45, 0.75)
    lower_face = (steep * (p.x + 62) - 0.12 * p.y - 0.8 * (p.z + rng.uniform(22, 34))).astype(np.float32)
    right = -smooth_union(-right, -(lower_face + 3 * canvas.noise(30, box)), 16)
    # The kidney lies behind the liver's tip, not inside it.
    retroperitoneum = ellipsoid(p, (-38, 62, -25), (44, 44, 66))
    left = ellipsoid(p, (rng.uniform(-12, 18), -46, 48), (78, 40, rng.uniform(28, 38)))
    return smooth_union(np.maximum(right, -retroperitoneum), left, 14) + 2 * canvas.noise(35, box)


def _paint_liver(canvas: Canvas, cavity: Cavity) -> None:
    rng = canvas.rng
    box = canvas.box((-150, -110, -120), (110, 110, 110))
    p = canvas.points[box]
    lobes = _liver_lobes(canvas, box)
    cleft = np.abs(p.x - rng.uniform(-20, 6) + 0.25 * p.y) - rng.uniform(1, 3)
    fissure = np.maximum(cleft, np.maximum(p.z - 52, p.y + 25)) + canvas.noise(12, box)
    room = np.maximum(cavity.wall[box] + 2, cavity.diaphragm[box] + 2.5)
    canvas.fill("liver", np.maximum(np.maximum(lobes, -fissure), room) < 0, box, FREE)
    _paint_hepatic_vessels(canvas)
    if rng.random() < 0.25:
        _paint_cyst(canvas, "liver_cyst", (rng.uniform(-105, -60), rng.uniform(-35, 45), rng.uniform(0, 45)),
                    rng.uniform(5, 12), ["liver"])


def _paint_hepatic_vessels(canvas: Canvas) -> None:
    cava, porta = (-22, -10, 60), (-40, -8, 32)
    trees = [
        [cava, (-55, 2, 55), (-85, 20, 40), (-110, 30, 10)], [cava, (-45, -25, 52), (-62, -45, 30)],
        [cava, (-10, -30, 58), (20, -45, 52)],
        [porta, (-65, -5, 36), (-85, -20, 22), (-100, -35, 5)],
        [(-65, -5, 36), (-90, 12, 34), (-108, 30, 40)],
        [(-65, -5, 36), (-85, 15, 10), (-95, 30, -20)], [porta, (-20, -32, 44), (10, -44, 44)],
    ]
    for tree in trees:
        _paint_tube(canvas, "hepatic_vessel", tree, np.linspace(5, 2, len(tree)), jitter=4, over=["liver"])


def _paint_loop(canvas: Canvas, shape: Tube, gas: float, cavity: Cavity) -> None:
    box, distance = _distance(canvas, shape, 1.5, 20)
    distance = np.maximum(distance, cavity.wall[box] + 2)
    pockets = canvas.noise(16, box) - 0.02 * (canvas.points[box].y - shape.line[:, 1].mean())
    over = (*FREE, "perirenal_fat")
    canvas.fill("bowel_wall", distance < 0, box, over)
    canvas.fill("bowel_content", distance < -2.5, box, ["bowel_wall"])
    canvas.fill("bowel_gas", pockets > gas, box, ["bowel_content"])


def _paint_duodenum(canvas: Canvas) -> None:
    path = [(-26, -44, -4), (-44, -30, -10), (-48, -20, -34), (-40, -12, -56), (-14, -12, -62),
            (14, -14, -56), (30, -26, -40)]
    box, distance = _distance(canvas, tube(_jitter(canvas, path, 2.5), [9, 12, 12, 12, 9, 10, 11]), 1.0)
    canvas.fill("bowel_wall", distance < 0, box, FREE)
    canvas.fill("bowel_content", distance < -3.5, box, ["bowel_wall"])


def _paint_bowel(canvas: Canvas, cavity: Cavity) -> None:
    rng = canvas.rng
    colon = [(-98, -8, -140), (-100, -6, -90), (-92, -30, -62), (-60, -58, -58), (-10, -66, -58),
             (44, -66, -42), (88, -40, -16), (102, -8, 4), (108, 20, -30), (106, 26, -80), (104, 18, -140)]
    radii = rng.uniform(0.8, 1.15) * np.array([26, 25, 22, 20, 20, 19, 17, 16, 13, 12, 12])
    _paint_loop(canvas, tube(_jitter(canvas, colon, 6), radii), rng.uniform(-0.3, 0.9), cavity)
    for _ in range(16):
        start = rng.uniform((-75, -60, -125), (80, 0, -40))
        loop = start + rng.uniform(-34, 34, (5, 3)) * (1, 0.7, 0.8)
        _paint_loop(canvas, tube(loop, rng.uniform(9, 13, 5)), rng.uniform(1.0, 2.2), cavity)
    for _ in range(20):
        start = rng.uniform((-50, -55, -100), (70, -15, -20))
        path = [start, start + rng.uniform(-20, 20, 3), start + rng.uniform(-40, 40, 3)]
        _paint_tube(canvas, "mesenteric_vessel", path, [2.5, 2.2, 1.8])
