"""Cells of tables that spreadsheets open: a name from a file is text there, whatever it begins with (torch-free)."""

from __future__ import annotations

import re
from typing import Any

from SAMoraLib.system.streams import one_line

# What is taken for a formula: at the start of a cell, and where a semicolon is taken for the end of one.
FORMULA = re.compile(r"(^|;)(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


def cell(value: Any) -> Any:
    """A text on one line and marked as text where it would be a formula, which a spreadsheet works out, and which may
    send away what stands beside it; any other value as it is.
    """
    return FORMULA.sub(r"\1\2'", one_line(value)) if isinstance(value, str) else value
