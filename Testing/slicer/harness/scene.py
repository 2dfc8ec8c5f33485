"""The MRML scene with its logics, brought up in the order in which Slicer does it. All of it is slicer-core's own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import vtk

SHARE = Path(__file__).parent / "share"
LOGICS = {  # name under which the application logic and slicer.modules know it -> class
    "Colors": "vtkMRMLColorLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
}
IN_SUBJECT_HIERARCHY = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode")


class Module:
    """`slicer.modules.volumes` of a loadable module: its name and its logic."""

    def __init__(self, name: str, logic: Any) -> None:
        self.name, self._logic = name, logic

    def logic(self) -> Any:
        return self._logic


def start() -> tuple[Any, Any, dict[str, Module]]:
    """A scene, its application logic, and the modules by name."""
    scene = slicer.vtkMRMLScene()
    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetMRMLScene(scene)
    application_logic.GetColorLogic().SetMRMLScene(scene)
    application_logic.GetColorLogic().AddDefaultColorNodes()
    scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, _add_to_subject_hierarchy)
    scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, _remove_from_subject_hierarchy)
    modules = {}
    for name, class_name in LOGICS.items():
        logic = application_logic.GetColorLogic() if name == "Colors" else getattr(slicer, class_name)()
        if name == "Terminologies":
            logic.SetModuleShareDirectory(str(SHARE))  # before the scene: that is when the files are read
        if name != "Colors":
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
        application_logic.SetModuleLogic(name, logic)
        modules[name] = Module(name, logic)
    return scene, application_logic, modules


@vtk.calldata_type(vtk.VTK_OBJECT)
def _add_to_subject_hierarchy(scene: Any, event: str, node: Any) -> None:
    """Gives every data node its item below the scene's, as the plugins of Slicer's Subject Hierarchy module do."""
    if any(node.IsA(kind) for kind in IN_SUBJECT_HIERARCHY) and not node.GetHideFromEditors():
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        if not hierarchy.GetItemByDataNode(node):
            hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _remove_from_subject_hierarchy(scene: Any, event: str, node: Any) -> None:
    if scene.IsClosing() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy.GetItemByDataNode(node):
        hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)


def namespace(modules: dict[str, Module]) -> SimpleNamespace:
    """`slicer.modules`, whose names are in lower case."""
    return SimpleNamespace(**{name.lower(): module for name, module in modules.items()})
