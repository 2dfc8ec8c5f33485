"""Slicer's own widgets, on the real scene, as far as a scripted module can see them."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import slicer
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from .ctk_widgets import stored

NODE = "vtkMRMLNode*"
SCENE = "mrmlSceneChanged(vtkMRMLScene*)"


class qMRMLWidget(QWidget):
    """A widget that knows the scene and passes it on: the outermost widget of every module's .ui file."""

    mrmlSceneChanged = Signal(object)
    SIGNATURES = {"mrmlSceneChanged": SCENE}

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


def observed(scene: Any, callback: weakref.WeakMethod) -> Callable[[], None]:
    """Calls back when the scene's nodes come and go, until the function that is returned is called."""

    def call(caller: Any, event: str) -> None:
        if (alive := callback()) is not None:
            alive()

    kind = slicer.vtkMRMLScene
    events = (
        kind.NodeAddedEvent,
        kind.NodeRemovedEvent,
        kind.EndCloseEvent,
        kind.EndImportEvent,
        kind.EndBatchProcessEvent,
    )
    tags = [scene.AddObserver(event, call) for event in events]

    def end() -> None:
        for tag in tags:
            scene.RemoveObserver(tag)

    return end


class _NodeList(qMRMLWidget):
    """A combo box over the scene's nodes of some classes, kept up to date by the scene's events."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._unobserve: Callable[[], None] = lambda: None
        self._types: list[str] = []
        self._attributes: list[tuple[str, str, str | None]] = []
        self._box = QComboBox()
        self._hidden = self._children = True
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)

    def setMRMLScene(self, scene: Any) -> None:
        self._unobserve()
        if scene is not None:
            self._unobserve = observed(scene, weakref.WeakMethod(self._refresh))
            self.destroyed.connect(self._unobserve)
        super().setMRMLScene(scene)
        self._refresh()

    def nodes(self) -> list[Any]:
        """The nodes on offer: of the asked types, and of classes derived from them if showChildNodeTypes is on."""
        if self._scene is None:
            return []
        every = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())]
        return [node for node in every if self._offered(node)]

    def _offered(self, node: Any) -> bool:
        kind = any(node.IsA(t) if self._children else node.GetClassName() == t for t in self._types)
        visible = self._hidden or not node.GetHideFromEditors()
        wanted = [(n, v) for t, n, v in self._attributes if node.IsA(t)]
        return (
            kind
            and visible
            and all(node.GetAttribute(n) is not None and v in (None, node.GetAttribute(n)) for n, v in wanted)
        )

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes.append((node_type, name, value))
        self._refresh()

    def _set_types(self, types: list[str]) -> None:
        self._types = list(types)
        self._refresh()

    def _set_hidden(self, shown: bool) -> None:
        self._hidden = shown
        self._refresh()

    def _set_children(self, shown: bool) -> None:
        self._children = shown
        self._refresh()

    def _refresh(self) -> None:
        raise NotImplementedError

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    showHidden = Property(bool, lambda self: self._hidden, _set_hidden)
    showChildNodeTypes = Property(bool, lambda self: self._children, _set_children)


class qMRMLNodeComboBox(_NodeList):
    """Chooses one node of the scene, or none, or makes one."""

    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    SIGNATURES = {
        "mrmlSceneChanged": SCENE,
        "currentNodeChanged": f"currentNodeChanged({NODE})",
        "nodeAddedByUser": f"nodeAddedByUser({NODE})",
    }

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._id = ""
        self._base_name, self._none_text = "", "None"
        self._none = False
        self._add = True
        self._box.activated.connect(self._chosen)

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._id) if self._scene is not None and self._id else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str) -> None:
        known = [node.GetID() for node in self.nodes()]
        if node_id not in known:
            node_id = known[0] if known and not self._none else ""
        if node_id != self._id:
            self._id = node_id
            self._refresh_items()
            self.currentNodeChanged.emit(self.currentNode())
            self.currentNodeIDChanged.emit(node_id)

    def nodeCount(self) -> int:
        return len(self.nodes())

    def nodeFromIndex(self, index: int) -> Any:
        return self.nodes()[index] if 0 <= index < len(self.nodes()) else None

    def addNode(self, node_type: str = "") -> Any:
        """What "Create new ..." does: a node of the first type, named after `baseName`, becomes the current one."""
        node = self._scene.AddNewNodeByClass(
            node_type or self._types[0], self._scene.GenerateUniqueName(self._base_name or "Node")
        )
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _refresh(self) -> None:
        if self._scene is not None and self._scene.IsClosing():
            return
        self.setCurrentNodeID(self._id)
        self._refresh_items()

    def _refresh_items(self) -> None:
        self._box.clear()
        if self._none:
            self._box.addItem(self._none_text, "")
        for node in self.nodes():
            self._box.addItem(node.GetName(), node.GetID())
        if self._add and self._types:
            self._box.addItem(
                f"Create new {self._base_name or self._types[0].removeprefix('vtkMRML').removesuffix('Node')}", "+"
            )
        self._box.setCurrentIndex(self._box.findData(self._id) if self._id or self._none else -1)

    def _chosen(self, index: int) -> None:
        chosen = self._box.itemData(index)
        if chosen == "+":
            self.addNode()
        else:
            self.setCurrentNodeID(chosen)

    def _set_none(self, enabled: bool) -> None:
        self._none = enabled
        self._refresh()

    def _set_add(self, enabled: bool) -> None:
        self._add = enabled
        self._refresh()

    def _set_none_text(self, text: str) -> None:
        self._none_text = text
        self._refresh()

    def _set_base_name(self, name: str) -> None:
        self._base_name = name
        self._refresh()

    currentNodeID = Property(str, lambda self: self._id, setCurrentNodeID)
    noneEnabled = Property(bool, lambda self: self._none, _set_none)
    addEnabled = Property(bool, lambda self: self._add, _set_add)
    noneDisplay = Property(str, lambda self: self._none_text, _set_none_text)
    baseName = Property(str, lambda self: self._base_name, _set_base_name)
    removeEnabled = stored(bool, "removeEnabled", True)
    editEnabled = stored(bool, "editEnabled", False)
    renameEnabled = stored(bool, "renameEnabled", False)
    selectNodeUponCreation = stored(bool, "selectNodeUponCreation", True)


class qMRMLCheckableNodeComboBox(_NodeList):
    """Chooses any number of nodes of the scene. In Slicer every node starts unchecked."""

    checkedNodesChanged = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._checked: list[str] = []

    def checkedNodes(self) -> list[Any]:
        return [node for node in self.nodes() if node.GetID() in self._checked]

    def uncheckedNodes(self) -> list[Any]:
        return [node for node in self.nodes() if node.GetID() not in self._checked]

    def checkState(self, node: Any) -> int:
        return 2 if node.GetID() in self._checked else 0

    def setCheckState(self, node: Any, state: int) -> None:
        others = [known for known in self._checked if known != node.GetID()]
        self._checked = [*others, node.GetID()] if state else others
        self._refresh()
        self.checkedNodesChanged.emit()

    def _refresh(self) -> None:
        self._box.clear()
        self._box.addItem(", ".join(node.GetName() for node in self.checkedNodes()) or "None")

    noneEnabled = stored(bool, "noneEnabled", False)


class qMRMLSegmentationShow3DButton(QPushButton):
    """Makes and shows the closed surfaces of a segmentation, or hides them."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Show 3D", parent)
        self._node = None
        self.setCheckable(True)
        self.toggled.connect(self._show)

    def segmentationNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node = node
        self.setEnabled(node is not None)

    def _show(self, shown: bool) -> None:
        if shown and self._node is not None:
            self._node.CreateClosedSurfaceRepresentation()
        if self._node is not None and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetVisibility3D(shown)

    def setMRMLScene(self, scene: Any) -> None:
        pass


STAND_INS = {name: value for name, value in list(vars().items()) if name.startswith("qMRML")}
