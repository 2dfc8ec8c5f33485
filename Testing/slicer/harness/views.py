"""Pictures of the MRML scene, drawn by Slicer's own displayable managers: slices with segments on them, and surfaces.

Off-screen (EGL or Mesa). Only the slice's grey image is put in by hand: in Slicer a Qt widget does that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import slicer
import vtk

SLICE_MANAGERS = ("vtkMRMLSegmentationsDisplayableManager2D", "vtkMRMLMarkupsDisplayableManager")
THREE_D_MANAGERS = (
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
)


def slice_view(
    volume: Any, path: Path, orientation: str = "Axial", centre: tuple[float, ...] | None = None, size: int = 400
) -> Path:
    """Writes a PNG, `size` pixels square, of the slice of a volume node through `centre` (RAS mm; default: its own).

    `orientation` is "Axial", "Coronal" or "Sagittal"; visible segmentations and regions are drawn over the image.
    """
    with _nodes_removed_afterwards():
        window, renderer, _interactor = _window(size)
        logic, node = _slice_logic(orientation, size)
        logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
        logic.FitSliceToAll()
        if centre is not None:
            node.JumpSliceByCentering(*centre)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        managers = _managers(factory, SLICE_MANAGERS, renderer, node)
        logic.UpdatePipeline()
        _add_image(logic, renderer)
        _write(window, path)
        managers.SetMRMLDisplayableNode(None)
        logic.SetMRMLScene(None)
    return Path(path)


def three_d_view(path: Path, size: int = 400, azimuth: float = 0.0, zoom: float = 1.3) -> Path:
    """Writes a PNG, `size` pixels square, of all visible surfaces from the front, turned by `azimuth` degrees."""
    with _nodes_removed_afterwards():
        window, renderer, _interactor = _window(size)
        renderer.SetBackground(1, 1, 1)
        node = slicer.mrmlScene.AddNode(slicer.vtkMRMLViewNode())
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        managers = _managers(factory, THREE_D_MANAGERS, renderer, node)
        _look_from_the_front(renderer, azimuth, zoom)
        _write(window, path)
        managers.SetMRMLDisplayableNode(None)
    return Path(path)


@contextmanager
def _nodes_removed_afterwards() -> Iterator[None]:
    """A view adds nodes of its own (slice, its model and transform, camera); the scene is left as it was."""
    scene = slicer.mrmlScene
    before = {scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())}
    try:
        yield
    finally:
        for node in [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())]:
            if node.GetID() not in before:
                scene.RemoveNode(node)


def _look_from_the_front(renderer: Any, azimuth: float, zoom: float) -> None:
    camera = renderer.GetActiveCamera()
    camera.SetPosition(0, 1, 0)
    camera.SetFocalPoint(0, 0, 0)
    camera.SetViewUp(0, 0, 1)
    camera.Azimuth(azimuth)
    renderer.ResetCamera()
    camera.Zoom(zoom)


def _slice_logic(orientation: str, size: int) -> tuple[Any, Any]:
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(slicer.mrmlScene)
    logic = slicer.vtkMRMLSliceLogic()
    logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    logic.SetMRMLScene(slicer.mrmlScene)
    node = logic.AddSliceNode("Harness")
    node.SetOrientation(orientation)
    node.SetDimensions(size, size, 1)
    return logic, node


def _window(size: int) -> tuple[Any, Any, Any]:
    window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
    window.SetOffScreenRendering(1)
    window.SetMultiSamples(0)
    window.SetSize(size, size)
    window.AddRenderer(renderer)
    interactor = (
        vtk.vtkRenderWindowInteractor()
    )  # never started, but the managers ask for it, and the window does not keep it alive
    interactor.SetRenderWindow(window)
    return window, renderer, interactor


def _managers(factory: Any, names: tuple[str, ...], renderer: Any, node: Any) -> Any:
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in names:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    group = factory.InstantiateDisplayableManagers(renderer)
    group.SetMRMLDisplayableNode(node)
    return group


def _add_image(logic: Any, renderer: Any) -> None:
    mapper, actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
    mapper.SetInputConnection(logic.GetImageDataConnection())
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddActor2D(actor)


def _write(window: Any, path: Path) -> None:
    window.Render()
    grab, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    grab.SetInput(window)
    grab.ReadFrontBufferOff()
    writer.SetInputConnection(grab.GetOutputPort())
    writer.SetFileName(str(path))
    writer.Write()
    window.Finalize()
