from __future__ import annotations

import numpy as np
from matplotlib.image import imread

from SAMoraLib.labels import get_label_set
from SAMoraLib.volume import Volume
from Training.reports.case_picture import draw_case, slices_to_show

LIVER = get_label_set("chaos_mr").by_name("liver")


def test_slices_run_from_the_first_to_the_last_that_is_touched():
    prediction, reference = np.zeros((2, 40, 8, 8), dtype=bool)
    prediction[10, 2, 2] = reference[24, 3, 3] = True
    assert slices_to_show({LIVER: (prediction, reference)}) == [10, 12, 14, 16, 18, 20, 22, 24]
    assert slices_to_show({LIVER: (prediction & False, prediction & False)})[0] == 0


def test_draws_prediction_and_reference_in_their_colours(tmp_path):
    reference = np.zeros((4, 32, 32), dtype=bool)
    reference[:, 4:14, 4:14] = True
    prediction = np.zeros_like(reference)
    prediction[:, 18:28, 18:28] = True
    image = Volume(np.zeros(reference.shape, dtype=np.int16), (1.0, 1.0, 3.0), (0.0, 0.0, 0.0),
                   (1, 0, 0, 0, 1, 0, 0, 0, 1))
    image.array[0, 0, 0] = 100
    draw_case(tmp_path / "x.png", "case", image, {LIVER: (prediction, reference)})
    pixels = (imread(tmp_path / "x.png")[..., :3] * 255).round()
    close = np.abs(pixels - np.array(LIVER.rgb)).max(axis=-1) < 12
    assert close.sum() > 300
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
