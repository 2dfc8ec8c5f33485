"""The choice of precision and of the slices to look at first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from Testing.slicer import harness

AddVolume = Callable[..., Any]


def after_a_restart() -> Any:
    """The choice as a new Slicer with the same settings makes it."""
    import qt

    from SAMoraSlicer.panel.speed import SpeedChoice

    return SpeedChoice(SimpleNamespace(precisionSelector=qt.QComboBox(), skimSelector=qt.QComboBox()))


def test_speed_is_a_preference_and_goes_into_the_request(widget: Any, add_volume: AddVolume, child: Any,
                                                         models_folder: Path) -> None:
    import qt

    assert widget.panel.speed.chosen == {"precision": "full", "skim": 1}
    widget.ui.precisionSelector.currentIndex, widget.ui.skimSelector.currentIndex = 1, 2
    assert (qt.QSettings().value("SAMora/Precision"), qt.QSettings().value("SAMora/Skim")) == ("half", "4")
    assert after_a_restart().chosen == {"precision": "half", "skim": 4}
    add_volume()
    asked = written_request(widget)
    assert (asked["precision"], asked["skim"], asked["device"]) == ("half", 4, "auto")


def test_who_knows_better_may_have_values_taken_for_hu(widget: Any, add_volume: AddVolume, child: Any,
                                                      models_folder: Path) -> None:
    """For the next run, and not for ever: it is no preference."""
    add_volume()
    assert not widget.ui.assumeHuCheckBox.checked and "assume_hu" not in written_request(widget)
    widget.ui.assumeHuCheckBox.checked = True
    assert written_request(widget)["assume_hu"] is True


def written_request(widget: Any) -> dict[str, Any]:
    """What the panel's next run asks its child."""
    from SAMoraSlicer import segmenting

    written: list[dict[str, Any]] = []
    write = segmenting.Request.write
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmenting.Request, "write",
                      lambda request, path: (written.append(request.to_json()), write(request, path)))
        harness.click(widget.ui.applyButton)
        harness.wait_until(lambda: bool(written), 60)
    harness.wait_until(lambda: widget.ui.applyButton.text == "Apply", 60)
    return written[0]


def test_the_panel_offers_what_a_request_takes(scene: Any) -> None:
    from SAMoraLib.request import PRECISIONS

    selector = after_a_restart().ui.precisionSelector
    assert tuple(selector.itemData(row) for row in range(selector.count)) == PRECISIONS


def test_it_begins_with_what_is_exact(scene: Any) -> None:
    """Also after settings of another version, whose choices there are no more."""
    import qt

    from SAMoraLib.request import DEFAULTS

    exact = {"precision": DEFAULTS.precision, "skim": DEFAULTS.skim}
    assert after_a_restart().chosen == exact
    qt.QSettings().setValue("SAMora/Precision", "quarter")
    qt.QSettings().setValue("SAMora/Skim", "3")
    assert after_a_restart().chosen == exact


def test_every_step_of_skimming_is_a_number_that_its_title_names(scene: Any) -> None:
    choice = after_a_restart()
    selector, steps = choice.ui.skimSelector, {}
    for row in range(selector.count):
        selector.currentIndex = row
        steps[choice.chosen["skim"]] = selector.currentText
    assert steps.pop(1) == "Every slice"
    assert len(steps) > 1 and all(f"Every {step}th" in title or f"Every {step}nd" in title
                                  for step, title in steps.items())
