"""The module "Segment abdomen": its panel, its logic for the Python console, and its self tests.

Slicer's process never imports torch: a child process segments (SAMoraSlicer/segmenting.py).
"""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer
import vtk
from slicer import vtkMRMLMarkupsROINode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Slicer up to 5.8, where the library would fail in a place that tells nobody why.
if sys.version_info < (3, 10):  # noqa: UP036  an older Slicer loads this file whatever pyproject.toml asks for
    raise RuntimeError(f"Segment abdomen needs Python 3.10 and this Slicer has {sys.version_info[0]}."
                       f"{sys.version_info[1]}; install Slicer 5.10 or later.")
if (Path(__file__).resolve().parents[1] / "SAMoraLib" / "__init__.py").is_file():
    sys.path.append(str(Path(__file__).resolve().parents[1]))  # a clone; installed, the library lies beside this file

from SAMoraLib.request import Options, as_names
from SAMoraSlicer import dependencies
from SAMoraSlicer.models import catalogue, find
from SAMoraSlicer.panel.panel import Panel
from SAMoraSlicer.parameters import set_back

MODIFIED = vtk.vtkCommand.ModifiedEvent
VOLUME_EVENTS = (MODIFIED, vtkMRMLScalarVolumeNode.ImageDataModifiedEvent,
                 vtkMRMLScalarVolumeNode.TransformModifiedEvent)


class SAMora(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Segment abdomen")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Markups", "Segmentations", "SubjectHierarchy", "Volumes"]
        parent.contributors = ["SAMora contributors"]
        parent.helpText = _(
            "Finds and measures the organs of the abdomen in CT and MR volumes, without clicks or prompts. "
            "Choose a volume and press Apply. Research use only, not a medical device. "
            '<a href="{url}">Documentation</a>').format(
                url="https://github.com/SlicerSAMora/SlicerSAMora/blob/main/docs/slicer.md")
        parent.acknowledgementText = _(
            "The models are based on Segment Anything (arXiv:2304.02643), SAMed (arXiv:2304.13785) and SAMora; "
            "please cite them when you use their methods.")


@parameterNodeWrapper
class SAMoraParameterNode:
    """What belongs to the case, and is saved with the scene.

    Attributes:
        model: its id; "" for the one that was chosen last.
        skippedOrgans: names that are unchecked in the check list, so that a new model starts with all of its own.
        region: box to segment in; None for the whole volume.
        outputSegmentation: whose organs are replaced; None for a new one at every run.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    region: vtkMRMLMarkupsROINode
    outputSegmentation: vtkMRMLSegmentationNode
    model: str = ""
    skippedOrgans: list[str] = []


class SAMoraWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel in Slicer: loads the widgets, and follows the scene and its parameter node."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self._parameterNode = self._guiTag = self._volume = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/SAMora.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = SAMoraLogic()
        self.panel = Panel(self.ui)
        self.ui.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onRegionChosen)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        slicer.app.connect("aboutToQuit()", self.panel.stop)
        self.initializeParameterNode()

    def cleanup(self):
        """The application quits, or the module is reloaded."""
        slicer.app.disconnect("aboutToQuit()", self.panel.stop)
        self.panel.stop()
        self.setParameterNode(None)
        self.removeObservers()

    def enter(self):
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self):
        """Work goes on while another module is shown."""
        self.setParameterNode(None)

    def onReload(self):
        for name in [name for name in sys.modules if name.split(".")[0] in ("SAMoraSlicer", "SAMoraLib")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller, event):
        self.setParameterNode(None)
        self.panel.scene_closes()

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()
        self.panel.refresh()

    def onSceneStartImport(self, caller, event):
        """The first volume that arrives must not be taken for the one that the saved scene has chosen."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def onParametersChanged(self, caller, event):
        self._followVolume()
        self.panel.parameters_changed()

    def onVolumeChanged(self, caller, event):
        """Its image came, or its grid or transform was changed: it may be usable now, or no longer."""
        self.panel.refresh()

    def onRegionChosen(self, node):
        """A new region starts around the whole volume."""
        volume = self._parameterNode.inputVolume if self._parameterNode is not None else None
        if node is not None and volume is not None and node.GetNumberOfControlPoints() == 0:
            self.logic.fitRegion(node, volume)

    def initializeParameterNode(self):
        """Follow the scene's parameter node, with the first volume as the input if none was chosen."""
        setBack = self.logic.mendParameterNode()
        self.setParameterNode(self.logic.getParameterNode())
        if self._parameterNode.inputVolume is None:
            self._parameterNode.inputVolume = firstVolume()
        if setBack:
            self.panel.parameters_set_back(setBack)

    def setParameterNode(self, parameterNode):
        """Connect the panel to this parameter node; None disconnects it."""
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode.parameterNode, MODIFIED, self.onParametersChanged)
        self._parameterNode = parameterNode
        if parameterNode is not None:
            # Not connectGui, which gives no tag to disconnect by.
            self._guiTag = parameterNode.connectParametersToGui({
                "inputVolume": self.ui.inputSelector, "region": self.ui.regionSelector,
                "outputSegmentation": self.ui.outputSelector})
            self.addObserver(parameterNode.parameterNode, MODIFIED, self.onParametersChanged)
        self._followVolume()
        self.panel.bind(parameterNode)

    def _followVolume(self):
        volume = self._parameterNode.inputVolume if self._parameterNode is not None else None
        if volume is self._volume:
            return
        for event in VOLUME_EVENTS:
            if self._volume is not None:
                self.removeObserver(self._volume, event, self.onVolumeChanged)
            if volume is not None:
                self.addObserver(volume, event, self.onVolumeChanged)
        self._volume = volume


def firstVolume():
    """The first volume that the selector can show: no label map, no vector volume, nothing hidden; None without one."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return next((node for node in volumes
                 if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()), None)


class SAMoraLogic(ScriptedLoadableModuleLogic):
    """Segmentation for the Python console and for scripts: blocking, without pop-ups."""

    def getParameterNode(self):
        self.mendParameterNode()
        return SAMoraParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def mendParameterNode(self):
        """Set back what a scene from elsewhere says wrongly of this module, and return what that was."""
        return set_back(ScriptedLoadableModuleLogic.getParameterNode(self))

    def segment(self, volumeNode, model=None, organs=None, region=None, segmentation=None, device="auto",
                precision="full", skim=1, assumeHU=False):
        """Segment a volume and return its segmentation node.

        Args:
            volumeNode: vtkMRMLScalarVolumeNode.
            model: id or title in the panel's list, or a checkpoint's path; the first that can be used by default.
            organs: names to keep, e.g. ["liver"]; all of the model's by default.
            region: vtkMRMLMarkupsROINode to segment in.
            segmentation: vtkMRMLSegmentationNode whose organs are replaced; a new one by default.
            device: "auto", "cpu", "cuda", "cuda:N" or "mps".
            precision: "half" is faster on GPUs and on CPUs with bfloat16, "int8" on CPUs; a few voxels differ.
            skim: above 1, every so many slices are looked at first, and then those next to one that shows an organ.
            assumeHU: take the values for HU, whatever they look like.

        Raises:
            ValueError, FileNotFoundError: the volume, model, organs, region, precision or skim cannot be used.
            RuntimeError: packages are missing, or the child process failed; the scene is unchanged.
        """
        from SAMoraSlicer.segmenting import Segmenting

        if missing := dependencies.missing():
            raise RuntimeError(f"{dependencies.sentence(missing)} Press Install in the panel's setup.")
        chosen = find(model) if model is not None else self._firstModel()
        options = Options(as_names(organs), device, skim=skim, precision=precision, assume_hu=assumeHU)
        run = Segmenting([volumeNode], chosen.checkpoint, options, region,
                         outputs=[segmentation] if segmentation is not None else None)
        run.start()
        run.wait()
        if run.errors:
            raise RuntimeError(next(iter(run.errors.values())))
        return slicer.mrmlScene.GetNodeByID(run.results[volumeNode.GetID()]["segmentation"])

    def fitRegion(self, roiNode, volumeNode):
        """Put a box around a whole volume, as it lies in the world."""
        bounds = [0.0] * 6
        volumeNode.GetRASBounds(bounds)
        sides = [(bounds[axis], bounds[axis + 1]) for axis in (0, 2, 4)]
        roiNode.SetCenterWorld(*((low + high) / 2 for low, high in sides))
        roiNode.SetSize(*(high - low for low, high in sides))

    @staticmethod
    def _firstModel():
        usable = [model for model in catalogue() if model.usable]
        if not usable:
            raise FileNotFoundError("No model is installed; install one in the panel's setup.")
        return usable[0]


class SAMoraTest(ScriptedLoadableModuleTest):
    """Self tests in a real Slicer; what cannot be tested there is skipped with its reason."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        """All tests, as from the button "Reload and Test"."""
        names = unittest.defaultTestLoader.getTestCaseNames(type(self))
        result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(map(type(self), names)))
        self.assertTrue(result.wasSuccessful(), "Some self tests failed; see the Python console.")
        for test, reason in result.skipped:
            self.delayDisplay(f"SKIPPED {test.id()}: {reason}")

    def test_the_panel_says_what_to_do(self):
        widget = slicer.modules.samora.widgetRepresentation().self()
        widget.enter()
        self.assertNotEqual(widget.ui.statusLabel.text, "")
        self.assertFalse(widget.ui.applyButton.enabled)  # the scene is empty

    def test_slicers_process_has_no_torch(self):
        self.assertNotIn("SAMoraLib.model", sys.modules)

    def test_a_phantom_is_segmented_on_its_own_grid(self):
        volume = self._phantom()
        segmentation = SAMoraLogic().segment(volume, organs=["liver", "aorta"], device="cpu")
        segments = segmentation.GetSegmentation()
        self.assertEqual(segments.GetSegment("liver").GetName(), "Liver")
        self.assertIsNone(segments.GetSegment("spleen"))
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, "liver", volume)
        self.assertEqual(liver.shape, slicer.util.arrayFromVolume(volume).shape)
        self.assertGreater(int(liver.sum()), 1000)

    def test_a_wrong_organ_is_refused_and_the_scene_is_unchanged(self):
        volume = self._phantom()
        before = slicer.mrmlScene.GetNumberOfNodes()
        with self.assertRaises(ValueError):
            SAMoraLogic().segment(volume, organs=["brain"])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)

    def _phantom(self):
        if missing := dependencies.missing():
            self.skipTest(dependencies.sentence(missing))
        import numpy as np

        from SAMoraLib.demo.phantom import make_phantom

        image = make_phantom(7, (3.0, 3.0, 8.0)).ct
        ijkToRAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.ijk_to_lps
        return slicer.util.addVolumeFromArray(image.array, ijkToRAS, "Phantom")
