"""The smallest scripted module that has everything the harness imitates; test_harness.py runs it."""

from __future__ import annotations

from typing import Annotated, Optional

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class Example(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Example")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]


@parameterNodeWrapper
class ExampleParameterNode:
    volume: vtkMRMLScalarVolumeNode
    result: Optional[vtkMRMLSegmentationNode]  # noqa: UP045  as Slicer's template writes it
    threshold: Annotated[float, WithinRange(-100, 500)] = 100
    invert: bool = False
    device: Annotated[str, Choice(["auto", "cpu"])] = "auto"
    note: str = "new"
    organs: list[str]


class ExampleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.parameterNode = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        top = slicer.util.loadUI(self.resourcePath("UI/Example.ui"))
        self.layout.addWidget(top)
        self.ui = slicer.util.childWidgetVariables(top)
        top.setMRMLScene(slicer.mrmlScene)
        self.logic = ExampleLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, lambda *event: self.follow(None))
        self.ui.applyButton.connect("clicked(bool)", self.onApply)

    def enter(self):
        self.follow(self.logic.getParameterNode())

    def exit(self):
        self.follow(None)

    def cleanup(self):
        self.removeObservers()

    def follow(self, parameterNode):
        if self.parameterNode:
            self.parameterNode.disconnectGui(self.connection)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.parameterNode = parameterNode
        if parameterNode:
            self.connection = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.onModified()

    def onModified(self, caller=None, event=None):
        self.ui.applyButton.enabled = bool(self.parameterNode and self.parameterNode.volume)

    def onApply(self):
        qt.QTimer.singleShot(0, lambda: self.ui.log.appendPlainText(_("Done")))


class ExampleLogic(ScriptedLoadableModuleLogic):
    def getParameterNode(self):
        return ExampleParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))
