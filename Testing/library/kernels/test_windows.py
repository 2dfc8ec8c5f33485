"""Windows without padding: every token in one window, and back in its place."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling.image_encoder import window_partition

from SAMoraLib.kernels.windows import partition, regions, unpartition

SIDES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(0, 10), st.integers(1, 3))
def test_regions_cover_the_grid_once_and_cutting_is_undone(height: int, width: int, window: int, batch: int) -> None:
    grid = torch.arange(batch * height * width * 2.0).view(batch, height, width, 2)
    seen, rebuilt = torch.zeros(height, width), torch.full_like(grid, float("nan"))
    for rows, columns in regions(height, width, window):
        region = grid[:, rows, columns]
        windows = partition(region, window)
        assert not window or max(windows.shape[1:3]) <= window
        seen[rows, columns] += 1
        rebuilt[:, rows, columns] = unpartition(windows, region)
    assert (seen == 1).all()
    assert torch.equal(rebuilt, grid)


def test_windows_are_the_packages() -> None:
    grid = torch.arange(2 * 5 * 8 * 3.0).view(2, 5, 8, 3) + 1
    theirs = {tuple(window[window > 0].tolist()) for window in window_partition(grid, 3)[0]}
    ours = {tuple(window.flatten().tolist()) for rows, columns in regions(5, 8, 3)
            for window in partition(grid[:, rows, columns], 3)}
    assert ours == theirs and len(ours) == 2 * 2 * 3
