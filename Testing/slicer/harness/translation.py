"""`slicer.i18n`: texts as they are, in English."""

from __future__ import annotations

import types


def tr(text: str) -> str:
    return text


def translate(context: str, text: str) -> str:
    return text


def build() -> types.ModuleType:
    module = types.ModuleType("slicer.i18n")
    module.tr, module.translate = tr, translate
    return module
