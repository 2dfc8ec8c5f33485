"""Scenes that somebody else has saved: what they say of this module is data, and the panel opens with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from Testing.slicer import harness

HOSTILE = {
    "a model of a million letters": {"model": "x" * 1_000_000}, "a model of two lines": {"model": "a\nb"},
    "no length": {"skippedOrgans_len": "abc"}, "an empty length": {"skippedOrgans_len": ""},
    "a billion organs": {"skippedOrgans_len": "1000000000"}, "less than none": {"skippedOrgans_len": "-1"},
    "half an organ": {"skippedOrgans_len": "1.5"}, "digits of elsewhere": {"skippedOrgans_len": "²"},
    "a huge organ": {"skippedOrgans_len": "1", "skippedOrgans_0": "x" * 100_000},
}
HARMLESS = {
    "a model that is not here": {"model": "<b>x</b>"}, "organs of another model": {"skippedOrgans_len": "2"},
    "parameters of nobody": {"unknown": "x", "inputVolume": "5"},
}


def raw_node(module: Any) -> Any:
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    return ScriptedLoadableModuleLogic.getParameterNode(module.SAMoraLogic())


@pytest.fixture
def parameters(slicer_app: Any) -> Any:
    import slicer

    return slicer.vtkMRMLScriptedModuleNode()


def test_what_this_module_saves_is_right(module: Any, parameters: Any) -> None:
    from SAMoraSlicer.parameters import set_back

    wrapped = module.SAMoraParameterNode(parameters)
    for name in ("ct abdomen-3.é", "腹部\u3000ct", "a\u00a0b\u202fc"):
        wrapped.model, wrapped.skippedOrgans = name, ["liver", "right_kidney"]
        assert set_back(parameters) == []
        assert (wrapped.model, wrapped.skippedOrgans) == (name, ["liver", "right_kidney"])


@pytest.mark.parametrize("what", HOSTILE)
def test_what_cannot_be_is_set_back(module: Any, parameters: Any, what: str) -> None:
    from SAMoraSlicer.parameters import set_back

    for name, text in HOSTILE[what].items():
        parameters.SetParameter(name, text)
    assert set_back(parameters) == [next(iter(HOSTILE[what])).split("_")[0]]
    wrapped = module.SAMoraParameterNode(parameters)
    assert (wrapped.model, wrapped.skippedOrgans) == ("", []) and set_back(parameters) == []


@pytest.mark.parametrize("what", [*HOSTILE, *HARMLESS])
def test_the_panel_opens_with_a_sentence(module: Any, what: str) -> None:
    node = raw_node(module)
    for name, text in {**HOSTILE, **HARMLESS}[what].items():
        node.SetParameter(name, text)
    widget = harness.make_widget("SAMora")
    assert harness.slot_errors() == [] and widget.ui.statusLabel.text.endswith(".")
    assert len(widget.ui.statusLabel.text) < 500
    told = "was damaged and is forgotten; choose again before Apply." in widget.ui.log.plainText
    assert told == (what in HOSTILE)


def test_nodes_of_another_kind_are_not_chosen(module: Any, scene: Any) -> None:
    node = raw_node(module)
    wrong = scene.AddNewNodeByClass("vtkMRMLTextNode", "Wrong")
    for name in ("inputVolume", "region", "outputSegmentation"):
        node.SetNodeReferenceID(name, wrong.GetID())
    widget = harness.make_widget("SAMora")
    chosen = widget.panel.parameters
    assert (chosen.inputVolume, chosen.region, chosen.outputSegmentation) == (None, None, None)
    assert "The scene's choice of volume, region, segmentation was damaged" in widget.ui.log.plainText


def test_nodes_that_are_not_in_the_scene_are_none(module: Any, scene: Any) -> None:
    node = raw_node(module)
    for name in ("inputVolume", "region", "outputSegmentation"):
        node.SetNodeReferenceID(name, "vtkMRMLNowhereNode99")
    widget = harness.make_widget("SAMora")
    assert widget.panel.parameters.region is None and "damaged" not in widget.ui.log.plainText


def test_a_scene_file_that_is_loaded_while_the_panel_is_open(widget: Any, scene: Any, tmp_path: Path) -> None:
    import slicer

    file = tmp_path / "scene.mrml"
    file.write_text("""<MRML version="Slicer4.4.0" userTags="">
<ScriptedModule id="vtkMRMLScriptedModuleNodeSAMora" name="SAMora" hideFromEditors="true" singletonTag="SAMora"
 ModuleName="SAMora" references="inputVolume:vtkMRMLGoneNode1;" parameter0="model a&#10;b"
 parameter1="skippedOrgans_len abc"></ScriptedModule></MRML>""", encoding="utf-8")
    slicer.mrmlScene.SetURL(str(file))
    slicer.mrmlScene.Import()
    assert harness.slot_errors() == []
    assert widget.panel.parameters.skippedOrgans == [] and widget.panel.parameters.inputVolume is None
    assert widget.ui.statusLabel.text.endswith(".")


@pytest.mark.parametrize("harm", ["spacing", "size of the region", "place of the region"])
def test_numbers_that_are_none_are_a_sentence(module: Any, scene: Any, harm: str) -> None:
    import numpy as np
    import slicer

    from SAMoraSlicer.nodes import check_volume, region_of

    volume = slicer.util.addVolumeFromArray(np.zeros((2, 3, 4), np.int16), name="CT")
    region = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "Box")
    if harm == "spacing":
        matrix = slicer.util.vtkMatrixFromArray(np.diag([np.nan, 1.0, 1.0, 1.0]))
        volume.SetIJKToRASMatrix(matrix)
        with pytest.raises(ValueError, match=r"^'CT' lies nowhere, .*\.$"):
            check_volume(volume)
        return
    region.SetCenterWorld(0, 0, np.nan if harm == "place of the region" else 0)
    region.SetSize(1, np.nan if harm == "size of the region" else 1, 1)
    with pytest.raises(ValueError, match=r"^The region 'Box' (lies nowhere|is empty).*\.$"):
        region_of(region, volume)
