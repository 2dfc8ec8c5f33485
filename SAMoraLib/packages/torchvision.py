"""Make ``import torchvision`` work when its compiled operators do not match torch.

A torchvision built for CUDA beside a CPU-only torch (common inside 3D Slicer) cannot load its operators and then fails
with ``operator torchvision::nms does not exist``; segment_anything and sam2 import torchvision and fail with it.
Nothing here calls those operators, so they are declared without an implementation. Where the pair matches, this
module does nothing.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_MISSING = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
_library: torch.library.Library | None = None  # the declaration lives as long as this object


@contextmanager
def importable_torchvision() -> Iterator[None]:
    """Inside, packages that import torchvision can be imported.

    torchvision is imported first, its missing operators declared where they are what stops it.

    Raises:
        ImportError: torchvision is not installed.
        RuntimeError: torchvision fails for another reason.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare_operators()
        importlib.import_module("torchvision")
        logging.getLogger(__name__).info("torchvision's compiled operators do not match torch %s; "
                                         "declared without them.", torch.__version__)
    yield


def _declare_operators() -> None:
    global _library
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    if _library is None:
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _MISSING.values():
            _library.define(schema)
