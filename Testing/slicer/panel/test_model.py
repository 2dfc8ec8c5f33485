"""The choice of the model and of its organs: kept with the scene, the last model as a preference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SAMoraSlicer.models import Model
from Testing.slicer import harness
from Testing.slicer.bare_checkpoint import write_checkpoint

AddVolume = Callable[..., Any]
EIGHT = ("spleen", "right_kidney", "left_kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas")
LAST = "SAMora/Model"


def items(ui: Any) -> list[Any]:
    return [ui.organsList.item(row) for row in range(ui.organsList.count)]


def checked(ui: Any) -> list[str]:
    import qt

    return [item.text() for item in items(ui) if item.checkState() == qt.Qt.Checked]


def uncheck(ui: Any, title: str) -> None:
    import qt

    next(item for item in items(ui) if item.text() == title).setCheckState(qt.Qt.Unchecked)


def model(name: str, organs: tuple[str, ...] = ("liver", "spleen"), here: bool = True, problem: str = "") -> Model:
    """One whose file is nowhere, so that its organs are those of the catalogue."""
    return Model(name, name.upper(), organs=organs, path=Path("nowhere") if here else None, problem=problem)


class Choice:
    """A choice on widgets of its own, for a case, and how often it told of a change."""

    def __init__(self, *models: Model) -> None:
        import qt

        from SAMoraSlicer.panel.model import ModelChoice

        self.ui = SimpleNamespace(modelSelector=qt.QComboBox(), organsList=qt.QListWidget(), modelInfo=qt.QLabel(),
                                  allOrgansButton=qt.QToolButton(), noOrgansButton=qt.QToolButton())
        self.changes = 0
        self.case = SimpleNamespace(model="", skippedOrgans=[])
        self.choice = ModelChoice(self.ui, self._count)
        self.choice.bind(self.case)
        self.choice.offer(models)

    def _count(self) -> None:
        self.changes += 1

    @property
    def titles(self) -> list[str]:
        return [self.ui.modelSelector.itemText(row) for row in range(self.ui.modelSelector.count)]

    @property
    def chosen(self) -> str | None:
        return self.choice.model.id if self.choice.model else None


def test_organs_are_those_of_the_models_card(widget: Any) -> None:
    assert checked(widget.ui) == ["Spleen", "Right kidney", "Left kidney", "Gallbladder", "Liver", "Stomach", "Aorta",
                                  "Pancreas"]
    assert widget.panel.models.organs is None, "all of them"


def test_unchecked_organs_are_remembered_with_the_scene(widget: Any, add_volume: AddVolume) -> None:
    add_volume()
    uncheck(widget.ui, "Spleen")
    assert widget.panel.parameters.skippedOrgans == ["spleen"]
    assert "spleen" not in widget.panel.models.organs and len(widget.panel.models.organs) == 7
    harness.click(widget.ui.noOrgansButton)
    assert widget.ui.statusLabel.text == "No organ is checked." and not widget.ui.applyButton.enabled
    harness.click(widget.ui.statusButton)
    assert widget.panel.models.organs is None and widget.ui.applyButton.enabled
    harness.click(widget.ui.noOrgansButton)
    harness.click(widget.ui.allOrgansButton)
    assert widget.panel.parameters.skippedOrgans == []


def test_a_script_may_change_the_parameter_node(widget: Any, add_volume: AddVolume, models_folder: Path) -> None:
    add_volume()
    second = add_volume("second")
    write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    node = widget.logic.getParameterNode()
    node.inputVolume, node.model, node.skippedOrgans = second, "own", ["liver"]
    assert widget.ui.inputSelector.currentNode() == second
    assert widget.ui.modelSelector.currentText == "own" and "Liver" not in checked(widget.ui)


def test_a_saved_scene_brings_its_choices_back(widget: Any, scene: Any, add_volume: AddVolume, tmp_path: Path) -> None:
    add_volume("first")
    widget.ui.inputSelector.setCurrentNode(add_volume("second"))
    uncheck(widget.ui, "Aorta")
    scene.SetURL(str(tmp_path / "scene.mrml"))
    assert scene.Commit()
    scene.Clear(0)
    assert len(checked(widget.ui)) == 8 and widget.ui.inputSelector.currentNode() is None
    scene.SetURL(str(tmp_path / "scene.mrml"))
    scene.Connect()
    assert "Aorta" not in checked(widget.ui)
    assert widget.ui.inputSelector.currentNode().GetName() == "second"


def test_the_last_model_is_the_next_scenes_default(widget: Any, scene: Any, models_folder: Path) -> None:
    write_checkpoint(models_folder / "own.safetensors")
    widget.panel.setup.look()
    widget.panel.models.select("own")
    scene.Clear(0)
    assert widget.panel.models.model.id == "own"
    assert "CT · 8 organs" in widget.ui.modelInfo.text and "CC-BY-4.0" in widget.ui.modelInfo.text


def test_a_model_of_the_scene_that_is_not_here_is_asked_for_and_not_exchanged(widget: Any) -> None:
    widget.panel.parameters.model = "gone"
    assert widget.panel.models.model is None and not widget.ui.applyButton.enabled
    assert widget.ui.statusLabel.text.startswith("The scene's model 'gone' is not on this computer; choose another")
    widget.panel.models.select("demonstration")
    assert widget.panel.models.model.id == "demonstration"


def test_the_first_model_is_chosen_unless_another_was_last(scene: Any) -> None:
    import qt

    assert Choice(model("a"), model("b")).chosen == "a"
    qt.QSettings().setValue(LAST, "b")
    made = Choice(model("a"), model("b"))
    assert made.chosen == "b" and made.case.model == "", "a default is no choice"
    qt.QSettings().setValue(LAST, "deleted")
    made = Choice(model("a"), model("b"))
    assert made.chosen == "a" and made.choice.absent == ""


def test_titles_say_which_models_can_be_used(scene: Any) -> None:
    made = Choice(model("a"), model("b", here=False), model("c", problem="It is damaged."))
    assert made.titles == ["A", "B (to be downloaded)", "C (cannot be used)"]
    enabled = []
    for name in "abc":
        made.choice.select(name)
        enabled.append(made.ui.organsList.enabled)
    assert enabled == [True, False, False] and made.ui.modelInfo.text == "It is damaged."


def test_a_choice_goes_to_the_case_and_is_the_next_default(scene: Any) -> None:
    import qt

    made = Choice(model("a"), model("b", ("aorta",)))
    made.choice.select("b")
    assert (made.chosen, made.case.model, qt.QSettings().value(LAST)) == ("b", "b", "b") and made.changes == 1
    assert checked(made.ui) == ["Aorta"]
    made.choice.select("a")
    assert (made.chosen, made.case.model, qt.QSettings().value(LAST)) == ("a", "a", "a") and made.changes == 2
    assert checked(made.ui) == ["Liver", "Spleen"]
    made.choice.select("unknown")
    assert made.chosen == "a" and made.changes == 2


def test_the_cases_own_model_is_shown_wherever_it_stands(scene: Any) -> None:
    for name in "abc":
        made = Choice(model("a"), model("b"), model("c"))
        made.case.model = name
        made.choice.read()
        assert made.chosen == name and made.choice.absent == "" and made.changes == 0


def test_a_cases_model_that_was_never_here_is_not_exchanged(scene: Any) -> None:
    made = Choice(model("a"))
    made.case.model = "elsewhere"
    made.choice.read()
    assert made.choice.absent == "elsewhere" and made.chosen is None and items(made.ui) == []
    assert not made.ui.organsList.enabled
    made.choice.offer([model("a"), model("b")])
    assert made.case.model == "elsewhere" == made.choice.absent
    made.choice.offer([model("elsewhere")])
    assert made.chosen == "elsewhere" and made.choice.absent == ""


def test_a_model_that_was_deleted_here_is_forgotten(scene: Any) -> None:
    made = Choice(model("a"), model("b"))
    made.choice.select("b")
    made.choice.offer([model("a"), model("b"), model("c")])
    assert made.case.model == "b" == made.chosen
    made.choice.offer([model("a"), model("c")])
    assert made.case.model == "" and made.chosen == "a" and made.choice.absent == ""


def test_without_a_model_there_is_nothing_to_choose(scene: Any) -> None:
    made = Choice()
    assert made.chosen is None and made.titles == [] and items(made.ui) == [] and not made.ui.organsList.enabled
    assert made.ui.modelInfo.text == "No model is installed." and made.choice.absent == ""


def test_without_a_case_nothing_is_written_to_it(scene: Any) -> None:
    """While a scene closes."""
    made = Choice(model("a"), model("b"))
    uncheck(made.ui, "Liver")
    made.choice.bind(None)
    assert made.choice.organs is None, "of no case, so all"
    uncheck(made.ui, "Spleen")
    made.choice.select("b")
    made.choice.offer([model("c")])
    assert made.case.model == "" and made.case.skippedOrgans == ["liver"] and made.chosen == "c"


def test_organs_that_a_case_skips_are_unchecked(scene: Any) -> None:
    made = Choice(model("a", EIGHT), model("b"))
    made.case.skippedOrgans = ["liver", "of another model"]
    made.choice.read()
    assert made.choice.organs == [name for name in EIGHT if name != "liver"]
    made.choice.select("b")
    assert checked(made.ui) == ["Spleen"] and made.choice.organs == ["spleen"]


def test_a_click_on_an_organ_is_told_once(scene: Any) -> None:
    made = Choice(model("a", EIGHT))
    uncheck(made.ui, "Aorta")
    assert made.case.skippedOrgans == ["aorta"] and made.changes == 1
    harness.click(made.ui.noOrgansButton)
    assert made.case.skippedOrgans == list(EIGHT) and made.choice.organs == [] and made.changes == 2
    harness.click(made.ui.allOrgansButton)
    assert made.case.skippedOrgans == [] and made.choice.organs is None and made.changes == 3


@pytest.mark.parametrize(("count", "lines"), [(0, 3), (1, 3), (4, 3), (5, 3), (6, 4), (8, 5), (13, 7)])
def test_the_list_is_as_high_as_its_two_columns_and_a_scroll_bar(scene: Any, count: int, lines: int) -> None:
    made = Choice(model("a", tuple(f"organ-{number}" for number in range(count))))
    line = max(16, made.ui.organsList.sizeHintForRow(0))
    assert made.ui.organsList.minimumHeight == lines * line + 2 * made.ui.organsList.frameWidth
