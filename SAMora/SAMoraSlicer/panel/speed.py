"""The choice of what may go faster, and at which price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import qt
from slicer.i18n import tr as _

from SAMoraSlicer.panel.settings import remembered

PRECISION_SETTING, SKIM_SETTING = "SAMora/Precision", "SAMora/Skim"


class SpeedChoice:
    """Combo boxes of the precision and of the slices to look at first; remembered as preferences."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        _offer(ui.precisionSelector, PRECISION_SETTING,
               {"full": _("Full precision"), "half": _("Half precision"), "int8": _("8-bit integers (CPU)")})
        _offer(ui.skimSelector, SKIM_SETTING,
               {"1": _("Every slice"), "2": _("Every 2nd slice first"), "4": _("Every 4th slice first"),
                "8": _("Every 8th slice first")})

    @property
    def chosen(self) -> dict[str, Any]:
        """As fields of a request."""
        return {"precision": self.ui.precisionSelector.currentData, "skim": int(self.ui.skimSelector.currentData)}


def _offer(selector: Any, setting: str, titles: Mapping[str, str]) -> None:
    """Fill a combo box; it starts with what was chosen last, else with the first."""
    for value, title in titles.items():
        selector.addItem(title, value)
    selector.currentIndex = max(0, selector.findData(remembered(setting)))
    selector.connect("currentIndexChanged(int)", lambda *_: qt.QSettings().setValue(setting, selector.currentData))
